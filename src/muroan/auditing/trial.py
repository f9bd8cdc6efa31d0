"""What an audit would take, from a trial on a few samples: nothing that could drift from what probes really do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from muroan.auditing.observe import clean_pass, observe, prepare, restricted, selection
from muroan.auditing.plan import Plan
from muroan.errors import CannotComplete, NotApplicable
from muroan.meter import Metered


@dataclass(frozen=True)
class TrialCost:
    """What an audit will take, from a trial on a few samples. samples: how many each probe will observe."""

    probe: str
    samples: int
    counts: Mapping[str, int]
    seconds: float
    reason: str = ""


def trial(plan: Plan, samples: int = 48) -> list[TrialCost]:
    """What each probe will cost: observed on a few samples of each split and scaled up (`--dry-run`)."""
    metered = Metered(plan.model, plan.data.audited.schema.modalities)
    costs: dict[str, tuple[int, Counter[str], float]] = {p.name: (0, Counter(), 0.0) for p in plan.asked()}
    reasons: dict[str, str] = dict(plan.unanswerable)
    # What a probe prepares it prepares once, however many samples it observes.
    fitted = {p.name: prepare(p, metered, plan.data.reference, plan.seed) for p in plan.asked()}
    for name, ready in fitted.items():
        costs[name] = (0, Counter(ready.meter.counts), ready.seconds)
        if ready.stopped:
            reasons[name] = ready.stopped.partition(": ")[2]
    for split, data in plan.data.items():
        asked = [p for p in plan.asked() if split in p.splits and not fitted[p.name].stopped]
        # One clean pass for all, as in the audit: what one probe has asked the next does not ask again.
        tried = selection(data, samples, plan.seed, split)
        loaded = data.load(tried) if asked else None
        if loaded is None or loaded.batch is None:
            continue
        pieces, _ = clean_pass(metered, loaded.batch, split, plan.seed)
        for probe in asked:
            index = plan.samples(probe, split, data)
            try:
                observed = observe(probe, restricted(pieces, data, tried, set(index)), fitted[probe.name])
            except (NotApplicable, CannotComplete) as error:
                reasons[probe.name] = str(error)
                continue
            n, counts, seconds = costs[probe.name]
            scale = len(index) / max(1, min(samples, len(index)))
            for what, rows in observed.meter.counts.items():
                counts[what] += round(rows * scale)
            costs[probe.name] = (n + len(index), counts, seconds + observed.seconds * scale)
    return [
        TrialCost(p.name, *(costs.get(p.name) or (0, Counter(), 0.0)), reason=reasons.get(p.name, ""))
        for p in plan.probes
    ]
