"""From trials to what they say: power over the dose, false alarms, and which probe fires on which fault."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from muroan.estimate import Estimate, proportion
from muroan.mitigation import Mitigation
from muroan.organism import Organism
from muroan.probe import Probe
from muroan.selftest.run import Record

POWER, LEVEL = 0.8, 0.05
"""What is asked of a probe: alarms in four of five worlds with the fault, in at most one of twenty without."""
REMOVED = 0.5
"""What is asked of a mitigation: most of the worlds in which its fault was found are free of it afterwards."""
DRAWS = 400
"""Of the power curve, for the interval of the dose that is found."""


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True)


class Point(_Plain):
    """Power at one dose; power is the share of seeds on which a limit of the metrics named for the fault broke."""

    dose: float
    power: Estimate


class Found(_Plain):
    """The dose that is found with 80 % power, read off the rising power curve, with a 95 % interval; None: none of
    those tried, which is above `beyond`."""

    dose: float | None
    low: float
    high: float | None
    beyond: float


class Pair(_Plain):
    """A probe and a fault that it is meant to find.

    quiet: the share of clean twins on which the same metrics alarmed. verdict: "finds" if power at the dose that
    matters is at least 0.8 with its whole interval, "misses" if it is below with its whole interval.
    """

    probe: str
    fault: str
    metrics: tuple[str, ...]
    bed: str
    matters: float
    curve: list[Point]
    found: Found | None
    twins: Estimate | None
    verdict: Literal["finds", "undecided", "misses", "not tried"]
    reason: str = ""

    @property
    def power(self) -> Estimate | None:
        """Power at the dose that matters."""
        return next((p.power for p in self.curve if p.dose == self.matters), None)


class Quiet(_Plain):
    """How often a probe alarms, by any of its limits, on twins in which nothing at all is wrong."""

    probe: str
    alarms: Estimate | None
    verdict: Literal["keeps", "undecided", "breaks", "not tried"]
    by_metric: dict[str, int]
    reason: str = ""


class Cell(_Plain):
    """How often a probe alarms, by any of its limits, on a fault at the dose that matters. meant: it should."""

    probe: str
    fault: str
    meant: bool
    alarms: Estimate | None
    twins: Estimate | None


class Mended(_Plain):
    """A mitigation and a fault that it is meant to remove, as a probe hears it at the dose that matters.

    removed: of the worlds in which the probe found the fault, the share in which it does not after the mitigation.
    verdict: "removes" where that is at least a half with its whole interval, "leaves" where it is below.
    """

    mitigation: str
    fault: str
    probe: str
    matters: float
    before: Estimate | None
    after: Estimate | None
    removed: Estimate | None
    verdict: Literal["removes", "undecided", "leaves", "not tried"]
    reason: str = ""


class SelfTest(_Plain):
    """What a self test found."""

    pairs: list[Pair]
    quiet: list[Quiet]
    mended: list[Mended] = []
    cells: list[Cell]
    orphans: list[str]
    """Faults that no probe is meant to find yet."""
    failed: list[str]
    """Probes that broke on a world, with the reason."""
    trials: int
    """Questions put to a world."""
    seconds: float
    """Of all trials, added up over processes."""

    @property
    def exit_code(self) -> int:
        """0: all keep their word as far as can be told; 1: a probe misses its fault or cries wolf, or a mitigation
        leaves its; 4: one broke."""
        broken = [p.verdict == "misses" for p in self.pairs] + [q.verdict == "breaks" for q in self.quiet]
        if any(broken) or any(m.verdict == "leaves" for m in self.mended):
            return 1
        return 4 if self.failed else 0


def conclude(
    records: Iterable[Record],
    probes: Sequence[Probe],
    organisms: Sequence[Organism],
    mitigations: Sequence[Mitigation] = (),
) -> SelfTest:
    """Figures of every pair, probe and cell that was tried."""
    by: dict[tuple[str, str, float], list[Record]] = {}
    everything = list(records)
    for r in everything:
        if not r.mended:
            by.setdefault((r.probe, r.world, r.dose), []).append(r)
    exact = sorted({o.bed.name for o in organisms if o.bed.exact})
    broke = [r for r in everything if r.heard.failed]
    return SelfTest(
        pairs=[_pair(p, o, by) for o in organisms for p in probes if o.name in p.finds],
        quiet=[_quiet(p, [r for b in exact for r in by.get((p.name, b, 0.0), [])]) for p in probes],
        mended=[
            _mended(m, o, p, everything)
            for m in mitigations
            for o in organisms
            for p in probes
            if o.name in m.removes and o.name in p.finds
        ],
        cells=[_cell(p, o, by) for o in organisms for p in probes],
        orphans=[o.name for o in organisms if not any(o.name in p.finds for p in probes)],
        failed=sorted({f"{r.probe} on {r.world}{r.mended and ' after '}{r.mended}: {r.heard.failed}" for r in broke}),
        trials=len(everything),
        seconds=sum(r.seconds for r in everything),
    )


def _heard(records: Sequence[Record]) -> list[Record]:
    return [r for r in records if not r.heard.inapplicable and not r.heard.failed]


def _share(records: Sequence[Record], metrics: Sequence[str] | None) -> Estimate | None:
    """The share of worlds with an alarm, by these metrics or by any (None); None if nothing was heard."""
    some = _heard(records)
    if not some:
        return None
    return proportion([bool(r.heard.alarms) if metrics is None else r.heard.of(metrics) for r in some])


def _pair(probe: Probe, organism: Organism, by: Mapping[tuple[str, str, float], list[Record]]) -> Pair:
    metrics = tuple(probe.finds[organism.name])
    tried = {d: by.get((probe.name, organism.name, d), []) for d in organism.doses}
    curve = [Point(dose=d, power=e) for d, rows in tried.items() if (e := _share(rows, metrics)) is not None]
    twins = _share(by.get((probe.name, organism.bed.name, 0.0), []), metrics)
    at = next((p.power for p in curve if p.dose == organism.matters), None)
    return Pair(
        probe=probe.name,
        fault=organism.name,
        metrics=metrics,
        bed=organism.bed.name,
        matters=organism.matters,
        curve=curve,
        found=_found(curve, twins) if len(curve) == len(organism.doses) and twins else None,
        twins=twins,
        verdict=_side(at, POWER, "misses", "finds"),
        reason="" if at else _reason(r for rows in tried.values() for r in rows),
    )


def _mended(mitigation: Mitigation, organism: Organism, probe: Probe, records: Sequence[Record]) -> Mended:
    metrics = probe.finds[organism.name]
    mine = [r for r in records if (r.probe, r.world, r.dose) == (probe.name, organism.name, organism.matters)]
    after = {r.seed: r for r in mine if r.mended == mitigation.name}
    before = {r.seed: r for r in _heard(mine) if not r.mended and r.seed in after}
    both = [s for s, r in before.items() if r in _heard(mine) and after[s] in _heard(mine)]
    had = [s for s in both if before[s].heard.of(metrics)]
    removed = proportion([not after[s].heard.of(metrics) for s in had]) if had else None
    return Mended(
        mitigation=mitigation.name,
        fault=organism.name,
        probe=probe.name,
        matters=organism.matters,
        before=_share([before[s] for s in both], metrics),
        after=_share([after[s] for s in both], metrics),
        removed=removed,
        verdict=_side(removed, REMOVED, "leaves", "removes"),
        reason="" if removed else _reason(after.values()),
    )


def _quiet(probe: Probe, records: Sequence[Record]) -> Quiet:
    alarms = _share(records, None)
    metrics = [k.split("/", 1)[1].split("[")[0] for r in _heard(records) for k in set(r.heard.alarms)]
    return Quiet(
        probe=probe.name,
        alarms=alarms,
        verdict=_side(alarms, LEVEL, "keeps", "breaks"),
        by_metric={m: metrics.count(m) for m in sorted(set(metrics))},
        reason="" if alarms else _reason(records),
    )


def _cell(probe: Probe, organism: Organism, by: Mapping[tuple[str, str, float], list[Record]]) -> Cell:
    return Cell(
        probe=probe.name,
        fault=organism.name,
        meant=organism.name in probe.finds,
        alarms=_share(by.get((probe.name, organism.name, organism.matters), []), None),
        twins=_share(by.get((probe.name, organism.bed.name, 0.0), []), None),
    )


def _side(estimate: Estimate | None, bound: float, below: str, above: str) -> Any:
    """The verdict of an interval beside a bound."""
    if estimate is None:
        return "not tried"
    if estimate.low >= bound:
        return above
    return below if estimate.high <= bound else "undecided"


def _reason(records: Iterable[Record]) -> str:
    """Why nothing was heard, as one of these says."""
    return next((why for r in records if (why := r.heard.inapplicable or r.heard.failed)), "")


def _found(curve: Sequence[Point], twins: Estimate) -> Found:
    """Reads the dose off an isotonic curve through the measured powers, straight between doses, from the twin at 0.

    The interval: the same for curves drawn from what the alarms leave open (Beta, Jeffreys' prior).
    """
    doses = np.array([0.0, *[p.dose for p in curve]])
    n = np.array([twins.n, *[p.power.n for p in curve]])
    k = np.array([twins.value * twins.n, *[p.power.value * p.power.n for p in curve]])
    rng = np.random.default_rng(0)
    drawn = sorted(_crossing(doses, p, n) for p in rng.beta(k + 0.5, n - k + 0.5, (DRAWS, len(n))))
    at, low, high = _crossing(doses, k / n, n), drawn[int(0.025 * DRAWS)], drawn[int(0.975 * DRAWS)]
    return Found(
        dose=at if np.isfinite(at) else None,
        low=min(low, at, float(doses[-1])),
        high=max(high, at) if np.isfinite(high) else None,
        beyond=float(doses[-1]),
    )


def _crossing(doses: np.ndarray, power: np.ndarray, weights: np.ndarray) -> float:
    from scipy.optimize import isotonic_regression

    rising = isotonic_regression(power, weights=weights).x
    if rising[-1] < POWER:
        return float("inf")
    k = int(np.argmax(rising >= POWER))
    if k == 0:
        return 0.0
    part = (POWER - rising[k - 1]) / (rising[k] - rising[k - 1])
    return float(doses[k - 1] + part * (doses[k] - doses[k - 1]))
