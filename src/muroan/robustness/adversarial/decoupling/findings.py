"""What the decoupling probe concludes from its evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from muroan.estimate import Estimate, by_group, mean, paired_difference, proportion, quantile
from muroan.evidence import AUDITED, Evidence, clusters
from muroan.finding import Bar, BarChart, Chart, Conclusion, Finding, Line, LineChart, TableChart, Verdict

if TYPE_CHECKING:
    from muroan.robustness.adversarial.decoupling.probe import DecouplingProbe

SMALLEST = 1e-4
"""The smallest budget of the curve and its area, as a part of all points."""
FEW = 0.01
STEPS = 41
SMALLEST_GROUP = 10
LEAST_ROOM = 0.1
"""Where nearly all answers without an input are the answers with it by chance alone, their agreement says nothing."""

Floats = NDArray[np.float64]


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


def outcomes(rows: pl.DataFrame, budget: float) -> Outcomes:
    return Outcomes(
        rows["success"].cast(pl.Float64).fill_null(0.0).to_numpy(),
        rows["share"].fill_null(math.nan).to_numpy(),
        budget,
    )


def conclude(probe: DecouplingProbe, evidence: Evidence) -> Conclusion:
    """Findings, headline first; charts; notes."""
    return _Conclusion(probe, evidence).conclusion()


class _Conclusion:
    def __init__(self, probe: DecouplingProbe, evidence: Evidence) -> None:
        self.probe, self.about = probe, evidence.about
        self.level = evidence.about.level
        self.names = list(evidence.about.modalities)
        self.audited = evidence.of(AUDITED, "attack")
        rows = evidence.of(AUDITED).filter(pl.col("attacked"))
        self.of = {c: rows.filter(pl.col("condition") == c) for c in rows["condition"].unique().sort().to_list()}
        self.null = evidence.of(AUDITED, "null")
        self.attacked = self.of.get("attack", self.audited.clear())
        self.by = clusters(self.attacked) if len(self.attacked) else None
        self.scopes = [m for m in self.names if f"attack {m}" in self.of]
        self.answers = "Right answers" if probe.correct_only else "Answers"

    def conclusion(self) -> Conclusion:
        if self.attacked.is_empty():
            return self._nothing()
        scopes, budget = ["", *self.scopes], self.probe.budget
        self.attack = {s: outcomes(self.of[f"attack {s}".strip()], budget) for s in scopes}
        self.random = {s: outcomes(self.of[f"random {s}".strip()], budget) for s in scopes}
        self.unchanged = proportion(self._hits(self.null), clusters(self.null), level=self.level)
        findings = [
            *self._headline(),
            *self._beyond(),
            *self._alone(),
            *self._split(),
            *self._without(),
            self._found(
                "null",
                "Answers that change when nothing is removed",
                self.unchanged,
                judged=False,
                note="Of all samples, attacked or not.",
            ),
            *self._groups(),
        ]
        return Conclusion(findings=findings, charts=self._charts(), notes=self._notes())

    def _nothing(self) -> Conclusion:
        reason = "no sample is predicted correctly" if self.probe.correct_only else "no sample is of these classes"
        findings = [
            Finding(
                probe=self.probe.name,
                metric=m,
                title=f"{self.answers} turned by removing parts of the input",
                verdict=Verdict.NOT_APPLICABLE,
                reason=f"there is nothing to attack: {reason}",
            )
            for m in ("success", "excess")
        ]
        return Conclusion(findings=findings)

    def _found(self, metric: str, title: str, estimate: Estimate, **more: object) -> Finding:
        return Finding.model_validate(
            {"probe": self.probe.name, "metric": metric, "title": title, "estimate": estimate, **more}
        )

    def _hits(self, rows: pl.DataFrame) -> Floats:
        return rows["success"].cast(pl.Float64).to_numpy()

    def _share(self, hits: Floats) -> Estimate:
        return proportion(hits, self.by, level=self.level)

    def _controls(self, scope: str, budget: float) -> dict[str, Estimate]:
        return {
            "random removal of equal size, asked as often": self._share(self.random[scope].at(budget)),
            "nothing removed": self.unchanged,
        }

    def _headline(self) -> list[Finding]:
        attack, budget = self.attack[""], self.probe.budget
        out = [
            self._found(
                "success",
                f"{self.answers} turned by removing at most {_percent(budget)} of the input",
                self._share(attack.success),
                controls=self._controls("", budget),
                note=self._denominator(),
            ),
            self._found(
                "success_at_1",
                f"{self.answers} turned by removing at most {_percent(FEW)} of the input",
                self._share(attack.at(FEW)),
                controls=self._controls("", FEW),
                note="Read off the same search, which stops at the first success within the full budget.",
            ),
            self._excess(""),
            self._found(
                "area",
                "How early answers change as more of the input is removed",
                mean(attack.area(), self.by, level=self.level, bounds=(0, 1)),
                controls={
                    "random removal of equal size, asked as often": mean(
                        self.random[""].area(), self.by, level=self.level, bounds=(0, 1)
                    )
                },
                note=f"Budgets from {_percent(SMALLEST)} to {_percent(budget)} on a log scale. Our own measure.",
            ),
        ]
        shares = attack.share[attack.success > 0]
        if len(shares):
            out += [
                self._found(
                    "share_median", "Part removed, median of the answers that change", _median(shares, self.level)
                ),
                self._found(
                    "share_worst",
                    "Part removed, the most that was needed among the answers that change",
                    Estimate(
                        value=float(shares.max()),
                        low=float(shares.max()),
                        high=1.0,
                        level=self.level,
                        n=len(shares),
                        method="largest seen: more samples can only raise it",
                    ),
                    judged=False,
                ),
            ]
        return out

    def _excess(self, scope: str) -> Finding:
        attack, random = self.attack[scope], self.random[scope]
        where = f" from the {scope} alone" if scope else ""
        return self._found(
            "excess",
            f"{self.answers} turned by a search for what to remove{where}, beyond random removal",
            paired_difference(attack.success, random.success, self.by, level=self.level),
            modality=scope or None,
            controls={
                "the search": self._share(attack.success),
                "random removal of equal size, asked as often": self._share(random.success),
            },
            note=f"Each asks about {_rounded(self.of[f'random {scope}'.strip()]['calls'].mean())} removals on average.",
        )

    def _beyond(self) -> list[Finding]:
        """Of each input: does a part matter more than the whole?

        Where the answer without the whole input says nothing of the sample, it is still the same answer by chance:
        with the share c of answers without the input that equal the sample's own. An answer that stands counts 1 - c,
        one that does not counts -c, both as parts of the mean of 1 - c (as in Cohen's kappa), so that answers which
        stand by chance alone add up to 0.
        """
        out = []
        for m in self.scopes:
            alone, decided = self.of[f"attack {m}"], self.attacked["clean_predicted"].to_numpy()
            without = alone["without"].to_numpy()
            chance = np.mean(without[None, :] == decided[:, None], axis=1)
            room = float(np.mean(1 - chance))
            if room < LEAST_ROOM:
                continue
            beyond = self.attack[m].success * ((without == decided) - chance) / room
            out.append(
                self._found(
                    "beyond_whole",
                    f"{self.answers} that a small part of the {m} turns though they stand without all of it",
                    mean(beyond, self.by, level=self.level, bounds=(-1 / room, 1 / room)),
                    modality=m,
                    controls={
                        f"turned without a small part of the {m}": self._share(self.attack[m].success),
                        f"turned without all of the {m}": self._share((without != decided).astype(np.float64)),
                    },
                    note="Beyond answers that stand by chance. A part whose removal does more than that of the whole "
                    "is read as something that it does not say.",
                )
            )
        return out

    def _alone(self) -> list[Finding]:
        out = []
        for m in self.scopes:
            attack = self.attack[m]
            out.append(self._excess(m))
            for metric, budget in (("success", self.probe.budget), ("success_at_1", FEW)):
                title = f"{self.answers} turned by removing at most {_percent(budget)} of the input, all from the {m}"
                out.append(
                    self._found(
                        metric,
                        title,
                        self._share(attack.at(budget)),
                        modality=m,
                        judged=False,
                        controls=self._controls(m, budget),
                    )
                )
        return out

    def _split(self) -> list[Finding]:
        if len(self.names) < 2:
            return []
        hit = self.attacked.filter(pl.col("success"))
        if hit.is_empty():
            return []
        by, out = clusters(hit), []
        for m in self.names:
            own = hit[f"share.{m}"].fill_null(0.0).to_numpy()
            title = f"Changed answers for which something of the {m} was removed"
            out.append(
                self._found("involves", title, proportion(own > 0, by, level=self.level), modality=m, judged=False)
            )
            out.append(
                self._found(
                    "own_share",
                    f"Part of the {m} that was removed",
                    mean(own, by, level=self.level, bounds=(0, 1)),
                    modality=m,
                    judged=False,
                    note="Mean over all changed answers, 0 where nothing of it was removed.",
                )
            )
        return out

    def _without(self) -> list[Finding]:
        return [
            self._found(
                "reliance",
                f"{self.answers} that change without the {m}",
                self._share(self._hits(self.of[f"without {m}"])),
                modality=m,
                condition=f"without {m}",
                judged=False,
            )
            for m in self.names
        ]

    def _groups(self) -> list[Finding]:
        out = []
        for name in self.about.groups:
            values = self.attacked[f"group.{name}"].to_list()
            for value, estimate in by_group(self.attack[""].success, values, self.by, level=self.level).items():
                if estimate.n >= SMALLEST_GROUP:
                    title = f"{self.answers} turned by removing at most {_percent(self.probe.budget)}: {name} {value}"
                    out.append(self._found("success", title, estimate, group=f"{name}={value}", judged=False))
        return out

    def _charts(self) -> list[Chart]:
        out: list[Chart] = [self._curves("Answers turned, by how much is removed", [""])]
        if self.scopes:
            out.append(self._curves("The same with one input attacked alone", self.scopes))
            out.append(self._bars())
        return [*out, self._table()]

    def _curves(self, title: str, scopes: Sequence[str]) -> LineChart:
        grid = np.geomspace(SMALLEST, self.probe.budget, STEPS)
        lines = []
        for scope in scopes:
            for label, control, what in (
                (f"attack on {scope}" if scope else "attack", False, self.attack[scope]),
                (f"random removal, {scope}" if scope else "random removal", True, self.random[scope]),
            ):
                points = [self._share(what.at(b)) for b in grid]
                lines.append(
                    Line(
                        label=label,
                        x=grid.tolist(),
                        y=[e.value for e in points],
                        low=[e.low for e in points],
                        high=[e.high for e in points],
                        n=[e.n for e in points],
                        control=control,
                    )
                )
        return LineChart(
            title=title,
            x_label="part of the input removed, at most",
            y_label="share of attacked answers that change",
            lines=lines,
            log_x=True,
            y_range=(0, 1),
        )

    def _bars(self) -> BarChart:
        bars = []
        for m in self.names:
            if m in self.scopes:
                bars.append(Bar(label=m, of="a small part removed", estimate=self._share(self.attack[m].success)))
                bars.append(
                    Bar(
                        label=m,
                        of="random parts removed",
                        estimate=self._share(self.random[m].success),
                        control=True,
                    )
                )
            whole = self._share(self._hits(self.of[f"without {m}"]))
            bars.append(Bar(label=m, of="all of it missing", estimate=whole))
        return BarChart(
            title="Which input decisions hang on",
            y_label="share of attacked answers that change",
            bars=bars,
            y_range=(0, 1),
        )

    def _table(self) -> TableChart:
        rows: list[list[str | float | int | None]] = []
        for scope in ["", *self.scopes]:
            r, what = self.of[f"attack {scope}".strip()], self.attack[scope]
            shares = what.share[what.success > 0]
            most = [_percent(float(q)) for q in np.quantile(shares, [0.5, 0.9, 1.0])] if len(shares) else [None] * 3
            rows.append(
                [
                    scope or "all inputs",
                    len(r),
                    int(what.success.sum()),
                    *most,
                    _rounded(r["probes"].mean()),
                    _rounded(r["tries"].mean()),
                    _rounded(r["calls"].mean()),
                ]
            )
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

    def _denominator(self) -> str:
        whose = "answered correctly" if self.probe.correct_only else "whatever their answer"
        some = f", of the classes {', '.join(self.probe.classes)}" if self.probe.classes else ", of all classes"
        return (
            f"{len(self.attacked)} of {len(self.audited)} samples were attacked: those {whose}{some}. A success is an "
            "answer that differs from the untouched one."
        )

    def _notes(self) -> list[str]:
        p = self.probe
        meant = {
            "margin": f"its removal leaves less than {p.threshold:g} of the answer's lead over the next best",
            "label": "its removal alone changes the answer",
            "argmax": "its removal changes which coordinate of the fused code is the largest",
            "cosine": f"its removal takes the fused code's cosine with the untouched one below {p.threshold:g}",
        }[p.test]
        out = [
            self._denominator(),
            f"At most {_percent(p.budget)} of all points and {_percent(p.per_input)} of any one input may be removed; "
            "points are pixels, words, frames, columns and steps, counted alike, and shares are of their union.",
            f"A part is a candidate if {meant} (test {p.test!r}); words and columns always are. At most {p.max_tries} "
            f"sets of candidates are tried ({p.search} search).",
            "Random removal: as many pieces of the same kinds and sizes, as often as the attack asked the model; where "
            "the attack failed, as much as the most that it tried. The best draw counts, and where few removals are "
            "possible none is drawn twice.",
            "A share found is an upper bound of the smallest that would do. An attack can miss what exists, so these "
            "figures bound robustness from above.",
        ]
        if not p.shrink:
            out.append("Removed parts were not shrunk.")
        if self.unchanged.value > 0:
            out.insert(
                0,
                f"NOT TO BE TRUSTED: {self.unchanged.value:.2%} of the answers change when nothing is removed: the "
                "model, or how it reads its input, answers differently each time.",
            )
        return out


def _median(shares: Floats, level: float) -> Estimate:
    found = quantile(shares, 0.5, level=level)
    return found.model_copy(update={"low": max(found.low, 0.0), "high": min(found.high, 1.0)})


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _rounded(value: object) -> float | None:
    return round(float(value), 1) if isinstance(value, int | float) else None
