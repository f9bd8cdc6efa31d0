"""EMAP and DIME: golden identities, agreement with the definitions, cost."""

from __future__ import annotations

import pytest
import torch

from muroan import Metered, Tabular, TorchModel
from muroan.clean import Clean
from muroan.controllability.explainability.dime import dime
from muroan.controllability.explainability.emap import emap, project
from muroan.controllability.explainability.parts import Parts
from muroan.controllability.explainability.shapley import centred_logit
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
    model = Metered(model.model, model.modalities)  # one that remembers nothing yet
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


@pytest.mark.parametrize("method", ["lime", "kernel shap"])
def test_dime_of_an_additive_model_has_no_interaction_map(method):
    model, batch = world(10, sum)
    clean = Clean.observe(model, batch)
    maps = dime(clean, clean, "m0", Parts(method=method))
    assert float(maps.whole.abs().max()) > 0.01
    torch.testing.assert_close(maps.unimodal, maps.whole, atol=1e-6, rtol=0)


def test_dime_of_a_product_of_centred_factors_is_all_interaction():
    model, batch = world(10, product)
    encoder = model.model._parts["encoder m1"]
    with torch.no_grad():
        encoder.bias -= encoder(batch.inputs["m1"]).mean(dim=0)
    clean = Clean.observe(model, batch)
    maps = dime(clean, clean, "m0")
    assert float(maps.unimodal.abs().max()) < 1e-6
    torch.testing.assert_close(maps.interaction, maps.whole, atol=1e-6, rtol=0)


def test_dime_explains_the_additive_projection_of_each_changed_sample():
    """The samples explained are some of the background's, and not the first ones."""
    model, batch = world(6, product)
    background = Clean.observe(model, batch)
    explainer = Parts(method="kernel shap", coalitions=6)
    maps = dime(background.take([3, 5]), background, "m0", explainer)
    design = explainer.design(3)
    for at, i in enumerate([3, 5]):

        def additive(kept, i=i):
            changed = batch.inputs["m0"].clone()
            changed[i] = torch.where(kept, changed[i], 0.0)
            codes = {m: model.encode(m, changed if m == "m0" else batch.inputs[m]) for m in ("m0", "m1")}
            at = torch.cartesian_prod(torch.arange(6), torch.arange(6))
            grid = model.logits(codes, {"m0": at[:, 0], "m1": at[:, 1]}).view(6, 6, 3).double()
            # Only the changed row is new; the other two terms of the projection stay those of the background.
            return centred_logit(grid[i].mean(dim=0)[None], background.predicted[i : i + 1])

        scores = torch.cat([additive(mask) for mask in design.masks])
        ends = [additive(torch.full((3,), whole)) for whole in (False, True)]
        torch.testing.assert_close(
            maps.unimodal[at, :3], design.attributions(*ends, scores[None])[0], atol=1e-5, rtol=0
        )
