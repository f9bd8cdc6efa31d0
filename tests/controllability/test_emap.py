"""EMAP: golden identities, agreement with the definition, cost."""

from __future__ import annotations

import pytest
import torch

from muroan import Metered, Tabular, TorchModel
from muroan.controllability.explainability.emap import emap, project
from muroan.data.memory import InMemory
from muroan.errors import AskedWrongly


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ([[1.0, -1.0], [-1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]),
        ([[1.0, 3.0], [2.0, 4.0]], [[1.0, 3.0], [2.0, 4.0]]),
        ([[3.0, 1.0], [1.0, 1.0]], [[2.5, 1.5], [1.5, 0.5]]),
    ],
    ids=["product", "additive", "and-like"],
)
def test_golden(logits, expected):
    """The projection of every cell, not of the diagonal alone: shifting one modality brings each cell there."""
    grid, wanted = torch.tensor(logits), torch.tensor(expected)
    for shift in range(2):
        pairs = grid.roll(-shift, dims=1)[..., None]
        found = project(pairs).squeeze(-1)
        torch.testing.assert_close(found, wanted.roll(-shift, dims=1).diagonal().double())


def world(n, fuse, modalities=2):
    g = torch.Generator().manual_seed(0)
    names = [f"m{i}" for i in range(modalities)]
    data = InMemory(
        {m: torch.randn(n, 3, generator=g) for m in names},
        targets=[0] * n,
        modalities={m: Tabular(columns=("a", "b", "c")) for m in names},
        classes=["a", "b", "c"],
    )
    model = TorchModel(
        encoders={m: torch.nn.Linear(3, 3) for m in names},
        fusion=lambda codes: fuse(list(codes.values())),
        head=lambda z: z,
        classes=["a", "b", "c"],
    )
    return Metered(model, data.schema.modalities), data.load(range(n)).batch


def product(codes):
    out = codes[0]
    for c in codes[1:]:
        out = out * c
    return out


@pytest.mark.parametrize("modalities", [2, 3])
def test_an_additive_model_is_its_own_projection_and_a_product_is_not(modalities):
    model, batch = world(12, sum, modalities)
    found = emap(model, batch)
    assert float(found.interaction.abs().max()) < 1e-5
    assert not bool(found.flipped.any())
    model, batch = world(12, product, modalities)
    assert float(emap(model, batch).interaction.abs().max()) > 0.1


@pytest.mark.parametrize("modalities", [2, 3])
def test_it_is_the_projection_of_the_whole_grid_in_chunks(modalities, monkeypatch):
    import muroan.controllability.explainability.emap as module

    model, batch = world(9, product, modalities)
    codes, _ = model.codes(batch)
    at = torch.cartesian_prod(*[torch.arange(9)] * modalities)
    grid = model.logits(codes, {m: at[:, i] for i, m in enumerate(codes)}).view(*[9] * modalities, 3)
    monkeypatch.setattr(module, "FUSE_CHUNK", 50)
    model.meter.counts.clear()
    found = emap(model, batch)
    torch.testing.assert_close(found.additive, project(grid))
    torch.testing.assert_close(found.logits, model.of(batch).double())
    assert model.meter.counts["encode m0"] <= 2 * 9


def test_the_projection_is_the_least_squares_fit_of_added_up_modalities():
    grid = torch.randn(5, 5, 1, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    rows, columns = torch.meshgrid(torch.arange(5), torch.arange(5), indexing="ij")
    design = torch.cat([torch.eye(5)[rows.flatten()], torch.eye(5)[columns.flatten()]], dim=1).double()
    fit = design @ torch.linalg.lstsq(design, grid.view(25, 1), driver="gelsd").solution
    torch.testing.assert_close(project(grid)[:, 0], fit.view(5, 5).diagonal())


def test_too_many_combinations_are_refused():
    model, batch = world(400, sum, 3)
    with pytest.raises(AskedWrongly, match="400\\^3"):
        emap(model, batch)
