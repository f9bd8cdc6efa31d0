"""What the decoupling probe concludes from its evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from muroan.estimate import Estimate, quantile
from muroan.finding import Bar, BarChart, Chart, Line, LineChart, TableChart
from muroan.rows import Floats, Rows
from muroan.say import Say

SMALLEST = 1e-4
"""The smallest budget of the curve and its area, as a part of all points."""
FEW = 0.01
STEPS = 41
LEAST_ROOM = 0.1
"""Where nearly all answers without an input are the answers with it by chance alone, their agreement says nothing."""
CHANCE = "random removal of equal size, asked as often"
CHANGE = "share of attacked answers that change"


@dataclass(frozen=True)
class Outcomes:
    """What an attack, or its control, did to the attacked samples: success [N] (0/1), share [N] (nan: none).

    budget: the most that could be removed.
    """

    success: Floats
    share: Floats
    budget: float

    def at(self, budget: float) -> Floats:
        """Success with at most this part of the points removed; at the full budget, every success."""
        with np.errstate(invalid="ignore"):
            # Of few points one may go, however large a part of them it is: that counts at the full budget.
            return self.success * (np.minimum(self.share, self.budget) <= budget + 1e-12)

    def area(self) -> Floats:
        """Each sample's part of the area under success over log budgets from `SMALLEST` to the full, 0 to 1."""
        depth = np.log(self.budget / np.clip(self.share, SMALLEST, None)) / math.log(self.budget / SMALLEST)
        return np.where(self.success > 0, np.clip(np.nan_to_num(depth), 0, 1), 0.0)


@dataclass(frozen=True)
class Removed:
    """The attacked samples with something of them removed, by a search or at random."""

    rows: Rows
    outcomes: Outcomes

    @staticmethod
    def of(rows: Rows, budget: float) -> Removed:
        return Removed(rows, Outcomes(rows["success"], rows["share"], budget))

    def within(self, budget: float) -> Estimate:
        """How many answers change with at most this part removed. 0: none; 1: all."""
        return self.rows.share(self.outcomes.at(budget))

    def area(self) -> Estimate:
        """How early they change. 0: none does; 1: all do with `SMALLEST` removed."""
        return self.rows.mean(self.outcomes.area(), (0, 1))

    @property
    def shares(self) -> Floats:
        """The parts that were removed where the answer changed."""
        return self.outcomes.share[self.outcomes.success > 0]

    def average(self, column: str) -> float:
        return round(float(self.rows[column].mean()), 1)


@dataclass(frozen=True)
class Decoupled:
    """What removing parts did through all inputs ("") and through each alone, beside random removal.

    rows: of the attacked samples, by condition; unchanged: how many of all answers change when nothing is removed;
    budget: the most that may be removed; answers: what those attacked are called; attacked: who was, in words.
    """

    rows: Mapping[str, Rows]
    unchanged: Estimate
    budget: float
    answers: str
    attacked: str

    @property
    def names(self) -> list[str]:
        return list(self.rows["attack"].about.modalities)

    @property
    def scopes(self) -> list[str]:
        """The inputs that were attacked alone."""
        return [m for m in self.names if f"attack {m}" in self.rows]

    def attack(self, scope: str) -> Removed:
        return Removed.of(self.rows[f"attack {scope}".strip()], self.budget)

    def random(self, scope: str) -> Removed:
        return Removed.of(self.rows[f"random {scope}".strip()], self.budget)

    # Findings

    def conclude(self, say: Say) -> None:
        """Findings, headline first."""
        self._headline(say)
        for m in self.scopes:
            self._beyond(say.about(modality=m), m)
        for m in self.scopes:
            self._alone(say.about(modality=m), m)
        changed = self.rows["attack"].where(pl.col("success"))
        if len(self.names) > 1 and len(changed):
            for m in self.names:
                self._split(say.about(modality=m), m, changed)
        for m in self.names:
            without = f"without {m}"
            change = self.rows[without].share("success")
            title = f"{self.answers} that change without the {m}"
            say.detail("reliance", title, change, modality=m, condition=without)
        note = "Of all samples, attacked or not."
        say.detail("null", "Answers that change when nothing is removed", self.unchanged, note=note)
        for name, value, rows in self.rows["attack"].groups():
            title = f"{self.answers} turned by removing at most {percent(self.budget)}: {name} {value}"
            say.detail("success", title, rows.share("success"), group=f"{name}={value}")

    def _turned(self, budget: float) -> str:
        return f"{self.answers} turned by removing at most {percent(budget)} of the input"

    def _controls(self, scope: str, budget: float) -> dict[str, Estimate]:
        return {CHANCE: self.random(scope).within(budget), "nothing removed": self.unchanged}

    def _headline(self, say: Say) -> None:
        attack, budget = self.attack(""), self.budget
        controls = self._controls("", budget)
        say("success", self._turned(budget), attack.within(budget), controls=controls, note=self.attacked)
        note = "Read off the same search, which stops at the first success within the full budget."
        say("success_at_1", self._turned(FEW), attack.within(FEW), controls=self._controls("", FEW), note=note)
        self._excess(say, "")
        say(
            "area",
            "How early answers change as more of the input is removed",
            attack.area(),
            controls={CHANCE: self.random("").area()},
            note=f"Budgets from {percent(SMALLEST)} to {percent(budget)} on a log scale. Our own measure.",
        )
        if len(shares := attack.shares):
            level, most = attack.rows.level, float(shares.max())
            median = quantile(shares, 0.5, level=level)
            median = median.model_copy(update={"low": max(median.low, 0.0), "high": min(median.high, 1.0)})
            say("share_median", "Part removed, median of the answers that change", median)
            method = "largest seen: more samples can only raise it"
            worst = Estimate(value=most, low=most, high=1.0, level=level, n=len(shares), method=method)
            title = "Part removed, the most that was needed among the answers that change"
            say.detail("share_worst", title, worst)

    def _excess(self, say: Say, scope: str) -> None:
        attack, random = self.attack(scope), self.random(scope)
        where = f" from the {scope} alone" if scope else ""
        say(
            "excess",
            f"{self.answers} turned by a search for what to remove{where}, beyond random removal",
            attack.rows.gained_over(random.rows, "success"),
            controls={"the search": attack.within(self.budget), CHANCE: random.within(self.budget)},
            note=f"Each asks about {random.average('calls')} removals on average.",
        )

    def _beyond(self, say: Say, m: str) -> None:
        """Does a part of an input matter more than the whole?

        Where the answer without the whole input says nothing of the sample, it is still the same answer by chance:
        with the share c of answers without the input that equal the sample's own. An answer that stands counts 1 - c,
        one that does not counts -c, both as parts of the mean of 1 - c (as in Cohen's kappa), so that answers which
        stand by chance alone add up to 0.
        """
        rows = self.rows[f"attack {m}"]
        without, decided = rows["without"], rows["clean_predicted"]
        chance = np.mean(without[None, :] == decided[:, None], axis=1)
        room = float(np.mean(1 - chance))
        if room < LEAST_ROOM:
            return
        beyond = rows["success"] * ((without == decided) - chance) / room
        say(
            "beyond_whole",
            f"{self.answers} that a small part of the {m} turns though they stand without all of it",
            rows.mean(beyond, (-1 / room, 1 / room)),
            controls={
                f"turned without a small part of the {m}": rows.share("success"),
                f"turned without all of the {m}": rows.share(without != decided),
            },
            note="Beyond answers that stand by chance. A part whose removal does more than that of the whole "
            "is read as something that it does not say.",
        )

    def _alone(self, say: Say, m: str) -> None:
        self._excess(say, m)
        for metric, budget in (("success", self.budget), ("success_at_1", FEW)):
            title = f"{self._turned(budget)}, all from the {m}"
            say.detail(metric, title, self.attack(m).within(budget), controls=self._controls(m, budget))

    def _split(self, say: Say, m: str, changed: Rows) -> None:
        own = pl.col(f"share.{m}").fill_null(0.0)
        say.detail("involves", f"Changed answers for which something of the {m} was removed", changed.share(own > 0))
        note = "Mean over all changed answers, 0 where nothing of it was removed."
        say.detail("own_share", f"Part of the {m} that was removed", changed.mean(own, (0, 1)), note=note)

    # Charts

    def charts(self) -> list[Chart]:
        charts: list[Chart] = [self._curves("Answers turned, by how much is removed", [""])]
        if self.scopes:
            charts.append(self._curves("The same with one input attacked alone", self.scopes))
            charts.append(self._bars())
        return [*charts, self._table()]

    def _curves(self, title: str, scopes: Sequence[str]) -> LineChart:
        grid, lines = np.geomspace(SMALLEST, self.budget, STEPS).tolist(), []
        for scope in scopes:
            attack, random = self.attack(scope), self.random(scope)
            label = f"attack on {scope}" if scope else "attack"
            lines.append(Line.of(label, grid, [attack.within(b) for b in grid]))
            label = f"random removal, {scope}" if scope else "random removal"
            lines.append(Line.of(label, grid, [random.within(b) for b in grid], control=True))
        return LineChart(
            title=title,
            x_label="part of the input removed, at most",
            y_label=CHANGE,
            lines=lines,
            log_x=True,
            y_range=(0, 1),
        )

    def _bars(self) -> BarChart:
        bars = []
        for m in self.names:
            if m in self.scopes:
                attack, random = (side(m).within(self.budget) for side in (self.attack, self.random))
                bars.append(Bar(label=m, of="a small part removed", estimate=attack))
                bars.append(Bar(label=m, of="random parts removed", estimate=random, control=True))
            bars.append(Bar(label=m, of="all of it missing", estimate=self.rows[f"without {m}"].share("success")))
        return BarChart(title="Which input decisions hang on", y_label=CHANGE, bars=bars, y_range=(0, 1))

    def _table(self) -> TableChart:
        rows: list[list[str | float | int | None]] = []
        for scope in ["", *self.scopes]:
            attack, shares = self.attack(scope), self.attack(scope).shares
            most = [percent(float(q)) for q in np.quantile(shares, [0.5, 0.9, 1.0])] if len(shares) else [None] * 3
            effort = [attack.average(c) for c in ("probes", "tries", "calls")]
            rows.append([scope or "all inputs", len(attack.rows), len(shares), *most, *effort])
        return TableChart(
            title="The search in numbers",
            columns=[
                "attacked through",
                "attacked",
                "changed",
                "part removed, median",
                "90 % quantile",
                "largest",
                "parts probed",
                "sets considered",
                "removals asked about",
            ],
            rows=rows,
        )


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"
