"""The grid of training and test subsets: closed forms, the three settings, and what "missing" means."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from muroan.data.memory import InMemory
from muroan.errors import AskedWrongly
from muroan.interventions.removals import Kept, every_subset
from muroan.modality import Tabular
from muroan.model import Capability, Code, Model
from muroan.robustness.distribution_shift.modality_grid import SETTINGS, ModalityGrid, setting

NAMES = ("a", "b", "c")
CLASSES = ("x", "y", "z")


def data(n: int = 300, fill: float = 0.0, clusters: bool = False) -> InMemory:
    """a tells the class always, b of the first half, c never."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, n)
    told = {"a": targets, "b": np.where(np.arange(n) < n // 2, targets, (targets + 1) % 3), "c": (targets + 1) % 3}
    return InMemory(
        {m: np.eye(3, dtype=np.float32)[v] for m, v in told.items()},
        targets=targets,
        modalities={m: Tabular(columns=CLASSES, fill=(fill,) * 3) for m in NAMES},
        classes=CLASSES,
        clusters=[i // 3 for i in range(n)] if clusters else None,
    )


class Believes(Model):
    """Believes the first input that it was trained with and that says something; else it says the first class."""

    name = "believes"
    modalities, classes = NAMES, CLASSES
    capabilities = frozenset({Capability.SCORES, Capability.FUSE, Capability.ABSENT})

    def __init__(self, kept: Kept) -> None:
        self.kept = kept

    def encode(self, modality: str, values: Tensor) -> Code:
        return values

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        out = torch.tensor([[1e-3, 0.0, 0.0]]).expand(len(codes["a"]), -1)
        for m in reversed(self.kept):
            here = codes[m].abs().sum(dim=1) > 0
            if present and m in present:
                here = here & present[m]
            out = torch.where(here[:, None], codes[m], out)
        return out

    def decide(self, fused: Tensor) -> Tensor:
        return 10 * fused


def constant(model: Model) -> Callable[[Kept], Model]:
    """One model, whatever it is said to be trained with."""
    return lambda kept: model


def test_all_cells_are_there_and_each_is_what_it_must_be() -> None:
    grid = ModalityGrid.measure(Believes, data())
    assert len(grid.correct) == 49
    assert all(grid.cell(a, b).n == 300 for a in grid.train for b in grid.test)
    guess = grid.cell(("a",), ("c",)).value  # trained with a, used with c: the first class
    assert 0.25 < guess < 0.42
    assert grid.cell(("a", "b"), ("b", "c")).value == 0.5
    assert grid.cell(("b", "c"), ("c",)).value == 0.0
    assert grid.cell(NAMES, NAMES).value == 1.0
    assert {k: e.value for k, e in grid.ceilings().items()} == {("a",): 1.0, ("b",): 0.5, ("c",): 0.0}


def test_average_and_least_are_over_the_test_subsets() -> None:
    grid = ModalityGrid.measure(Believes, data())
    accuracies = [grid.cell(NAMES, s).value for s in grid.test]
    assert grid.average(NAMES).value == pytest.approx(np.mean(accuracies))
    least = grid.least(NAMES)
    assert (least.estimate.value, least.name[1]) == (0.0, ("c",))
    # b is right on the first half alone: a simultaneous interval is no narrower than b's own.
    some = ModalityGrid.measure(Believes, data(), test=[("a",), ("b",), ("a", "b")])
    one, own = some.least(NAMES).estimate, some.cell(NAMES, ("b",))
    assert one.value == own.value == 0.5
    assert one.low <= own.low + 0.005
    assert one.high >= own.high - 0.005


def test_settings_are_summarised_apart() -> None:
    found = ModalityGrid.measure(Believes, data()).settings()
    assert {k: s.cells for k, s in found.items()} == {
        "matched": 7,
        "missing at test": 12,
        "added at test": 12,
        "transfer": 12,
        "partly other": 6,
    }
    assert tuple(found) == SETTINGS
    for s in found.values():
        assert s.least.value <= s.average.value
    assert found["transfer"].at[1] not in (found["transfer"].at[0],)
    assert setting(("a",), ("a", "b")) == "added at test"
    assert setting(("a", "b"), ("b",)) == "missing at test"
    assert setting(("a", "b"), ("b", "c")) == "partly other"


def test_one_model_with_masks_and_few_subsets() -> None:
    model = Believes(NAMES)
    grid = ModalityGrid.measure(lambda kept: model, data(), train=[NAMES], test=[("c", "a")], how="absent")
    assert grid.test == (("a", "c"),)
    assert grid.least(NAMES).estimate.value == 1.0
    assert not grid.ceilings()
    assert any("could be reached" in n for n in grid.notes())


def test_absent_neutral_zero_and_mean_are_different_tests() -> None:
    samples, reference = data(fill=0.5), data()
    reference.ids = [f"r{i}" for i in range(len(reference))]
    found = {
        how: ModalityGrid.measure(Believes, samples, train=[NAMES], test=[("b",)], how=how, reference=reference)
        for how in ("absent", "neutral", "zero", "mean")
    }
    values = {how: g.cell(NAMES, ("b",)).value for how, g in found.items()}
    # Where a is neutral (0.5 everywhere) or its mean, it says something, and b is not asked.
    assert values["absent"] == values["zero"] == 0.5
    assert values["neutral"] < 0.45
    assert values["mean"] < 0.45
    assert len({g.notes()[0] for g in found.values()}) == 4


def test_gain_is_paired_and_refuses_other_subsets() -> None:
    samples = data(clusters=True)
    tests: list[Kept] = [("a",), ("b",), ("a", "b")]
    better = ModalityGrid.measure(lambda k: Believes(("a", "b")), samples, train=[NAMES], test=tests)
    worse = ModalityGrid.measure(lambda k: Believes(("c", "b")), samples, train=[NAMES], test=tests)
    gain = better.gain(NAMES, worse)
    assert gain.value == pytest.approx(better.least(NAMES).estimate.value - worse.least(NAMES).estimate.value)
    assert gain.low > 0
    assert gain.clusters == 100
    assert better.gain(NAMES, better).value == 0
    other = ModalityGrid.measure(lambda k: Believes(NAMES), samples, train=[NAMES], test=tests[:2])
    with pytest.raises(AskedWrongly, match="the same subsets"):
        better.gain(NAMES, other)


def test_several_trainings_are_put_together_by_sample() -> None:
    samples = data()
    models = [Believes(("a",)), Believes(("b",))]
    grids = [ModalityGrid.measure(constant(model), samples, train=[NAMES]) for model in models]
    both = ModalityGrid.together(grids)
    cell = both.cell(NAMES, NAMES)
    assert cell.value == 0.75  # a is always right, b of half
    assert (cell.n, cell.clusters) == (600, 300)
    with pytest.raises(AskedWrongly, match="same subsets"):
        ModalityGrid.together([grids[0], ModalityGrid.measure(Believes, samples)])


def test_charts_hold_every_cell() -> None:
    grid = ModalityGrid.measure(Believes, data())
    assert len(grid.matrix().values) == 7
    assert grid.matrix().values[0][0] == 1.0
    assert len(grid.table().rows) == 49
    assert grid.table().rows[0][:4] == ["a", "a", "matched", 1.0]


def test_samples_that_lack_an_input_are_left_out() -> None:
    whole = data(30)
    inputs = {m: [whole.sample(i).inputs[m] for i in range(30)] for m in NAMES}
    inputs["b"][:4] = [None] * 4
    part = InMemory(
        inputs, targets=[whole.sample(i).target for i in range(30)], modalities=whole.schema.modalities, classes=CLASSES
    )
    grid = ModalityGrid.measure(Believes, part, train=[NAMES])
    assert (grid.cell(NAMES, NAMES).n, grid.left_out) == (26, 4)


def test_mistakes_are_told() -> None:
    with pytest.raises(AskedWrongly, match="no subset"):
        ModalityGrid.measure(Believes, data(), test=[("a", "d")])
    with pytest.raises(AskedWrongly, match="reference"):
        ModalityGrid.measure(Believes, data(), how="mean")

    class Plain(Believes):
        capabilities = frozenset({Capability.SCORES, Capability.FUSE})

    with pytest.raises(AskedWrongly, match="how='neutral'"):
        ModalityGrid.measure(Plain, data(), how="absent")


def test_every_subset() -> None:
    assert every_subset("ab") == [("a",), ("b",), ("a", "b")]
    assert len(every_subset("abcd")) == 15
