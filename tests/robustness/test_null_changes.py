"""A model that answers differently each time is caught: what changes nothing is really put to it again."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
import torch

from muroan import registry
from muroan.auditing.observe import observe_all
from muroan.checks.bed import model_for, planted

CHANGED = pl.col("predicted") != pl.col("clean_predicted")
NULLS = [
    ("robustness.decoupling", "null", pl.col("success")),
    ("robustness.gradient", "null", pl.col("success")),
    ("robustness.worst_case", "null", pl.col("success")),
    ("robustness.matching", "null", pl.col("success")),
    ("robustness.universal", "nothing", pl.col("changed")),
    ("robustness.low_skill", "nothing", CHANGED),
    ("robustness.corruptions", "image: nothing 0", CHANGED),
    ("robustness.corruptions", "text: nothing 0", CHANGED),
    ("robustness.mismatch", "text: matched", pl.col("same") < 1),
]


def rows(probe: str, *, fickle: bool, apart: bool) -> pl.DataFrame:
    """What a probe observes of a model in which every answer is drawn anew."""
    asked = replace(registry.probe(probe)(), limit=24)
    model = model_for(asked.needs)
    decide, generator = model.decide, torch.Generator().manual_seed(0)
    if fickle:
        model.decide = lambda fused: decide(fused) + 20 * torch.randn(len(fused), 2, generator=generator)
    evidence, bad = observe_all([asked], model, planted(), apart=apart)
    assert not bad
    return evidence[probe].rows


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize(("probe", "condition", "changed"), NULLS)
def test_what_changes_nothing_shows_that_answers_are_drawn(probe, condition, changed, apart):
    if probe == "robustness.matching" and not apart:
        pytest.skip("asks about codes")
    for fickle, expected in ((True, (0.2, 0.8)), (False, (0, 0))):
        found = rows(probe, fickle=fickle, apart=apart).filter(pl.col("condition") == condition)
        assert len(found) >= 24
        share = found.select(changed.cast(pl.Float64).mean()).item()
        assert expected[0] <= share <= expected[1], f"{share:.0%} of the answers changed"
