"""Rows and what is said of them: a figure is the estimate of the same values, with their level, seed and clusters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from muroan import estimate as estimates
from muroan.evidence import About, Evidence
from muroan.finding import Verdict
from muroan.rows import Rows
from muroan.say import Say

ABOUT = About(("a", "b"), {"x": "tabular"}, {"site": ("north", "south")}, "patient", seed=3, level=0.9)
N = 40


def rows(right: float = 0.7, seed: int = 0, condition: str = "clean") -> pl.DataFrame:
    """Samples of ten patients, two a site, in no order."""
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "sample": [f"{i:02d}" for i in range(N)],
            "split": ["audited"] * N,
            "condition": [condition] * N,
            "cluster": [f"patient {i // 4}" for i in range(N)],
            "right": rng.random(N) < right,
            "sure": rng.random(N),
            "group.site": ["north" if i < 32 else "south" for i in range(N)],
        }
    )
    return frame.sample(fraction=1.0, shuffle=True, seed=seed)


EVIDENCE = Evidence(pl.concat([rows(), rows(0.4, 1, "noise")]), ABOUT)
CLEAN, NOISE = (Rows.of(EVIDENCE, c) for c in ("clean", "noise"))


def test_rows_of_two_conditions_are_the_same_samples_in_the_same_order() -> None:
    assert CLEAN.column("sample").tolist() == NOISE.column("sample").tolist() == sorted(CLEAN.column("sample"))
    assert CLEAN["right"].dtype == np.float64


def test_figures_are_the_estimates_of_the_same_values() -> None:
    right, noise, by = CLEAN["right"], NOISE["right"], CLEAN.clusters
    assert CLEAN.share("right") == estimates.proportion(right, by, level=0.9)
    assert CLEAN.mean(pl.col("sure") * 2) == estimates.mean(2 * CLEAN["sure"], by, level=0.9)
    assert NOISE.gained_over(CLEAN, "right") == estimates.paired_difference(noise, right, by, level=0.9)
    assert CLEAN.more_than(NOISE, "right") == estimates.difference(right, noise, by, by, level=0.9)
    assert CLEAN.more_than(NOISE, "right", "sure") == estimates.difference(right, NOISE["sure"], by, by, level=0.9)
    assert CLEAN.at(0.99).share("right").width > CLEAN.share("right").width
    lost = CLEAN.lost_share(["right"], [noise])
    assert lost is not None
    assert lost.value == pytest.approx(1 - noise.sum() / right.sum())


@pytest.mark.parametrize("keep", ["right", pl.col("right"), CLEAN["right"] > 0], ids=["column", "expression", "bools"])
def test_some_rows_bring_their_clusters(keep) -> None:
    kept = CLEAN.where(keep)
    assert len(kept) == CLEAN["right"].sum()
    assert kept["right"].all()
    assert kept.clusters == [c for c, r in zip(CLEAN.clusters or [], CLEAN["right"], strict=True) if r]


def test_the_worst_of_several_is_named_and_none_where_nothing_was_there() -> None:
    worst = CLEAN.worst({"right": "right", "sure": "sure", "never": np.zeros(N)}, largest=False)
    assert (worst.name, worst.estimate.value) == ("never", 0)
    pairs = {"noise": ("right", NOISE["right"]), "nothing": ("right", "right")}
    most = CLEAN.worst_lost_share(pairs)
    assert most is not None
    assert most.name == "noise"
    assert CLEAN.worst_lost_share({"none": (np.zeros(N), np.zeros(N))}) is None


def test_a_group_has_a_figure_from_enough_samples_on() -> None:
    assert [(name, value, len(some)) for name, value, some in CLEAN.groups()] == [("site", "north", 32)]
    assert [value for _, value, _ in CLEAN.groups(least=8)] == ["north", "south"]
    assert CLEAN.gap("right", "site") is None
    gap = CLEAN.gap("right", "site", least=8)
    assert gap is not None
    means = [CLEAN.where(pl.col("group.site") == v)["right"].mean() for v in ("north", "south")]
    assert gap.estimate.value == pytest.approx(abs(means[0] - means[1]))


def test_samples_without_clusters_are_independent() -> None:
    alone = replace(CLEAN, frame=CLEAN.frame.with_columns(cluster=pl.lit(None, pl.String)))
    assert alone.clusters is None
    assert alone.share("right").clusters is None


def test_what_is_said_is_in_order_and_what_cannot_be_says_why() -> None:
    say = Say("tests.say")
    say.about(modality="image", judged=False)("share", "Of the image", CLEAN.share("right"), condition="noise")
    say.nothing(["share", "drop"], "Nothing", "nobody was there")
    say.by_group("share", "Right", CLEAN, lambda some: some.share("right"))
    first, none, too, group = say.findings
    assert (first.modality, first.condition, first.judged) == ("image", "noise", False)
    assert {none.verdict, too.verdict} == {Verdict.NOT_APPLICABLE}
    assert (none.reason, none.modality, too.metric) == ("nobody was there", None, "drop")
    assert (group.title, group.group, group.judged) == ("Right, site north", "site=north", False)
    assert say.details_last == [none, too, first, group]


def test_what_is_worked_out_of_columns_is_a_column_and_ordered_against_other_rows() -> None:
    assert CLEAN.having(doubt=1 - CLEAN["sure"])["doubt"].tolist() == (1 - CLEAN["sure"]).tolist()
    right, wrong = (CLEAN.where(CLEAN["right"] == so) for so in (1, 0))
    assert right.above(wrong, "sure") == estimates.auc(
        right["sure"], wrong["sure"], right.clusters, wrong.clusters, level=0.9
    )
    assert right.above(wrong, "sure").value == pytest.approx(1 - wrong.above(right, "sure").value)
    known = CLEAN.by_value("right", "site")
    assert known == {
        "north": CLEAN.where(pl.col("group.site") == "north").share("right"),
        "south": CLEAN.where(pl.col("group.site") == "south").share("right"),
    }


def test_rows_of_the_same_samples_and_of_all_conditions_together() -> None:
    few = NOISE.where(pl.col("sample").is_in(["03", "30"]))
    assert CLEAN.of_samples(few).column("sample").tolist() == ["03", "30"]
    alone = [Rows(some.frame.with_columns(cluster=pl.lit(None, pl.String)), ABOUT) for some in (CLEAN, NOISE)]
    both = Rows.together(alone)
    assert both.mean("sure").clusters == N
    assert both.share("right").value == pytest.approx((CLEAN["right"].mean() + NOISE["right"].mean()) / 2)
    assert alone[0].units == alone[0].column("sample").tolist()
    assert Rows.together([CLEAN, NOISE]).clusters == sorted([*CLEAN.clusters, *NOISE.clusters])


def test_a_figure_less_a_certain_number_keeps_its_interval() -> None:
    share = CLEAN.share("right")
    moved = share.less(0.5)
    assert (moved.value, moved.low, moved.high) == (share.value - 0.5, share.low - 0.5, share.high - 0.5)
    assert moved.n == share.n
