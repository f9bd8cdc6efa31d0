"""From evidence to findings. Neither the model nor the data are needed: what a run directory holds is enough."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from muroan import registry
from muroan.auditing import result as doc
from muroan.auditing.gate import Gate
from muroan.auditing.observe import gather
from muroan.auditing.store import PREPARED, Run
from muroan.errors import FOREIGN, AskedWrongly, CannotComplete, MuroanError, NotApplicable, told
from muroan.evidence import SAMPLES, About, Evidence
from muroan.finding import Conclusion, Exhibit, Finding, Metric, Verdict, judge
from muroan.probe import Probe
from muroan.version import __version__

MAX_EXHIBITS = 6
"""Exhibits a probe keeps in the findings; the others stay in the run directory."""


def conclude(run: Run, *, probes: Sequence[Probe] | None = None, gate: Gate | None = None) -> doc.Result:
    """Findings from the run directory alone: neither the model nor the data are needed.

    probes: those of the plan if None. gate: the plan's if None; another one judges the same evidence anew.
    """
    stored = run.plan()
    try:
        asked = probes or [registry.probe(n).configured(s) for n, s in stored["probes"].items()]
        model, data = doc.AuditedModel(**stored["model"]), doc.AuditedData(**stored["data"])
        rules = gate or Gate.model_validate({k: v for k, v in stored["gate"].items() if k != "name"})
        names, unanswerable = list(stored["shards"]), dict(stored["unanswerable"])
        known = About(
            classes=tuple(model.classes),
            modalities=dict(stored["kinds"]),
            groups={g: tuple(v) for g, v in data.groups.items()},
            cluster=data.cluster,
            seed=int(stored["seed"]),
            level=float(stored["level"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise AskedWrongly(f"{run.path}/audit.json is not a plan of this Muroan: {error}") from error
    missing = [n for n in names if not run.done(SAMPLES, n)]
    if missing:
        raise CannotComplete(
            f"{run.path} is not finished: {len(missing)} of {len(names)} shards are missing; "
            "give the same audit with this directory as --out to go on"
        )
    answered = [p for p in asked if p.name not in unanswerable]
    records = {p.name: run.records(p.name, [PREPARED, *names]) for p in answered} | {
        SAMPLES: run.records(SAMPLES, names)
    }
    evidence = gather(
        {p.name: run.frames(p.name, names) for p in answered},
        run.frames(SAMPLES, names),
        known,
        {p.name: p.joins for p in answered},
    )
    found = [_concluded(p, run, unanswerable, evidence, records.get(p.name, [])) for p in asked]
    found = _judged(found, asked, rules)
    quarantine = [
        doc.QuarantineRow(sample=q.sample, stage=q.stage, reason=q.reason)
        for some in records.values()
        for q in run.quarantined(some)
    ]
    return doc.Result(
        version=doc.Version(muroan=__version__),
        created=str(stored["created"]),
        plan=stored,
        seed=known.seed,
        level=known.level,
        false_discoveries=rules.false_discoveries,
        model=model,
        data=data,
        environment=doc.Environment(**stored["environment"]),
        probes=found,
        quarantine=sorted(quarantine, key=lambda q: (q.stage, q.sample)),
        summary=_summary(found, rules),
        command=str(stored["command"]),
        gate=_gate(rules, stored["gate"].get("name"), found),
    )


def _concluded(
    probe: Probe,
    run: Run,
    unanswerable: Mapping[str, str],
    evidence: Mapping[str, Evidence],
    records: list[dict[str, Any]],
) -> doc.ProbeResult:
    docs = (type(probe).__doc__ or "").split("\n\n")[0]
    base: dict[str, Any] = {
        "name": probe.name,
        "question": probe.question,
        "place": probe.place,
        "source": probe.source,
        "docs": " ".join(docs.split()),
        "settings": probe.settings(),
        "metrics": list(probe.metrics),
    }
    if probe.name in unanswerable:
        return doc.ProbeResult(**base, status="not applicable", reason=unanswerable[probe.name])
    base["cost"] = _cost(records)
    stopped = [r["stopped"] for r in records if r.get("stopped")]
    if stopped:
        kind, _, reason = str(stopped[0]).partition(": ")
        if kind == NotApplicable.__name__:
            return doc.ProbeResult(**base, status="not applicable", reason=reason)
        return doc.ProbeResult(**base, status="not completed", reason=reason)
    if probe.name not in evidence:
        reasons = Counter(q.reason for q in run.quarantined(records)).most_common(1)
        why = f"no sample could be observed: {reasons[0][0]}" if reasons else "no sample was left to observe"
        return doc.ProbeResult(**base, status="not completed", reason=why)
    found = evidence[probe.name]
    base["samples"] = found.counts()
    try:
        conclusion = probe.conclude(found)
        found.forget()
    except NotApplicable as error:
        return doc.ProbeResult(**base, status="not applicable", reason=str(error))
    except FOREIGN as error:  # one probe's mistake must not cost the others their conclusions
        run.write_text(f"errors/{probe.name}.txt", traceback.format_exc())
        why = str(error) if isinstance(error, MuroanError) else told(error)
        return doc.ProbeResult(**base, status="not completed", reason=f"could not conclude: {why}")
    return doc.ProbeResult(
        **base,
        findings=_as_asked(conclusion, probe),
        charts=conclusion.charts,
        notes=conclusion.notes,
        exhibits=_best_exhibits(records),
    )


def _as_asked(conclusion: Conclusion, probe: Probe) -> list[Finding]:
    promised = {m.name for m in probe.metrics}
    for f in conclusion.findings:
        if f.metric not in promised:
            raise ValueError(f"{probe.name} concludes {f.metric!r}, which it does not promise among its metrics")
    return conclusion.findings


def _best_exhibits(records: list[dict[str, Any]]) -> list[Exhibit]:
    found = [Exhibit.model_validate(e) for r in records for e in r["exhibits"]]
    return sorted(found, key=lambda e: (e.rank, e.sample))[:MAX_EXHIBITS]


def _cost(records: list[dict[str, Any]]) -> doc.Cost:
    counts: Counter[str] = Counter()
    for r in records:
        counts.update(r["counts"])
    return doc.Cost(
        counts=dict(sorted(counts.items())),
        model_seconds=sum(r["model_seconds"] for r in records),
        seconds=sum(r["seconds"] for r in records),
    )


def _judged(probes: list[doc.ProbeResult], asked: Sequence[Probe], gate: Gate) -> list[doc.ProbeResult]:
    """Limits from the gate, then verdicts over all findings of the audit at once."""
    metrics: dict[str, Metric] = {f"{p.name}/{m.name}": m for p in asked for m in p.metrics}
    flat = [f for p in probes for f in p.findings]
    judged = judge(gate.apply(flat, metrics), gate.false_discoveries)
    out, k = [], 0
    for p in probes:
        n = len(p.findings)
        out.append(p.model_copy(update={"findings": judged[k : k + n]}))
        k += n
    return out


def _summary(probes: list[doc.ProbeResult], gate: Gate) -> doc.Summary:
    counts = doc.count(probes)
    unfinished = [p.name for p in probes if p.status == "not completed"]
    if counts[Verdict.FAIL]:
        n = counts[Verdict.FAIL]
        code, why = 1, f"{n} limit{'s are' if n > 1 else ' is'} broken"
        why += f"; not completed: {', '.join(unfinished)}" if unfinished else ""
    elif unfinished:
        code, why = 4, f"not completed: {', '.join(unfinished)}"
    elif gate.strict and counts[Verdict.UNDECIDED]:
        code, why = 3, f"{counts[Verdict.UNDECIDED]} undecided, and the gate is strict"
    else:
        code, why = 0, "no limit is broken"
    return doc.Summary(verdicts=counts, exit_code=code, why=why)


def _gate(gate: Gate, name: str | None, probes: list[doc.ProbeResult]) -> doc.Gate | None:
    if not gate.limits and name is None:
        return None
    limits = {f.key: f.limit for p in probes for f in p.findings if f.limit and f.limit.source == "gate"}
    return doc.Gate(name=name or "gate", limits=limits)
