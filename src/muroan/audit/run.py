"""An audit from plan to findings: observe shard by shard, conclude, write what readers read."""

from __future__ import annotations

import os
import platform
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from muroan import __version__, registry
from muroan.audit import result as doc
from muroan.audit.engines import engine as engine_named
from muroan.audit.gate import Gate
from muroan.audit.observe import Observed, clean_pass, gather, observe, sample_rows
from muroan.audit.plan import DataAsked, ModelAsked, Plan, ProbesAsked, Shard, prepare
from muroan.audit.progress import progress
from muroan.audit.store import Run
from muroan.clean import Clean
from muroan.errors import AskedWrongly, CannotComplete, MuroanError, NotApplicable
from muroan.evidence import SAMPLES, About, Evidence
from muroan.finding import Conclusion, Exhibit, Finding, Metric, Verdict, judge
from muroan.meter import Meter, Metered
from muroan.probe import Probe

MAX_EXHIBITS = 6
"""Exhibits a probe keeps in the findings; the others stay in the run directory."""


@dataclass(frozen=True)
class AuditRun:
    """A finished audit: its directory and its conclusions."""

    directory: Run
    result: doc.Result

    @property
    def path(self) -> Path:
        return self.directory.path

    @property
    def findings(self) -> list[Finding]:
        """All findings; `finding.verdict`, `finding.estimate`, `finding.key`."""
        return self.result.findings

    @property
    def exit_code(self) -> int:
        """0 all limits hold, 1 a limit is broken, 3 undecided under strict, 4 not completed."""
        return self.result.summary.exit_code

    def evidence(self, probe: str) -> pl.DataFrame:
        """The per-sample rows of one probe ("samples" for the clean pass)."""
        return self.directory.evidence(probe)

    def report(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Draw the page; by default over the run's own `report.html`."""
        from muroan.report.page import page

        target = Path(path) if path is not None else self.path / "report.html"
        target.write_text(page(self.result, self.path / "exhibits"), encoding="utf-8")
        return target


def audit(
    model: ModelAsked,
    data: DataAsked,
    *,
    probes: ProbesAsked = None,
    gate: Gate | str | os.PathLike[str] | None = None,
    reference: DataAsked | None = None,
    members: DataAsked | None = None,
    out: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    engine: str = "local",
    shard: int = 512,
    level: float = 0.95,
    show_progress: bool = True,
) -> AuditRun:
    """Audit a model on data: which limits does it break, and how sure are we?

    model: a `muroan.Model` or a reference ("easy-vqa", "torch:module:factory"). data: a `Dataset`, `Splits`, or a
    reference ("easy-vqa", "table.csv"). probes: names, instances, or {name: settings}; None asks every probe.
    gate: limits, a `Gate` or a YAML file. reference: data disjoint from `data` on which thresholds are fitted;
    split off if a probe needs one. members: a sample of the training data, for privacy questions. out: the
    run directory; given again with the same request, the audit goes on where it stopped. limit: audit a
    random subset of this size. level: of every interval.

    Raises `AskedWrongly` if the request cannot be carried out, `CannotComplete` if the audit had to stop.
    """
    plan = prepare(
        model,
        data,
        probes=probes,
        gate=gate,
        reference=reference,
        members=members,
        limit=limit,
        seed=seed,
        shard=shard,
        level=level,
    )
    where = Path(out) if out is not None else Path("runs") / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    return carry_out(plan, where, engine=engine, show_progress=show_progress)


def carry_out(plan: Plan, out: Path, *, engine: str = "local", show_progress: bool = True) -> AuditRun:
    """Observe what is not observed yet, conclude, and write the run's documents."""
    works = engine_named(engine)
    run = Run(out)
    run.start(
        plan.to_json()
        | {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": plan.command(out),
            "environment": _environment().model_dump(),
        }
    )
    shards = plan.shards()
    todo = [s for s in shards if not _done(run, s)]
    metered = Metered(plan.model, plan.data.audited.schema.modalities)
    total = sum(len(s.index) for s in todo)
    with progress("observing", total, show=show_progress) as advance:

        def work(task: Shard) -> Shard:
            advance(0, task.split)
            observe_shard(plan, run, metered, task, advance)
            return task

        for task in works.run(todo, work):
            advance(len(task.index), task.split)
    return conclude(run, probes=plan.probes)


def _done(run: Run, shard: Shard) -> bool:
    return run.done(SAMPLES, shard.name) and all(run.done(p, shard.name) for p in shard.wanted)


def observe_shard(plan: Plan, run: Run, metered: Metered, shard: Shard, advance: Any) -> None:
    """One shard: load, clean pass, every probe that has not seen it yet."""
    data = dict(plan.data.items())[shard.split]
    pending = [p for p in plan.asked() if p.name in shard.wanted and not run.done(p.name, shard.name)]
    start = time.perf_counter()
    metered.meter = Meter()
    loaded = data.load(shard.index)
    quarantined = list(loaded.quarantined)
    pieces: list[Clean] = []
    if loaded.batch is not None:
        pieces, bad = clean_pass(metered, loaded.batch, shard.split, plan.seed)
        quarantined.extend(bad)
        if not pieces and len(bad) > 1:
            raise CannotComplete(
                f"{plan.model.name} failed on all {len(bad)} samples of {shard.name}: {bad[0].reason}"
            )
    if not run.done(SAMPLES, shard.name):
        frames = [sample_rows(c) for c in pieces]
        rows = pl.concat(frames, how="vertical_relaxed") if frames else None
        seconds = time.perf_counter() - start
        run.save(SAMPLES, shard.name, Observed(rows, [], quarantined, metered.meter, seconds))
    place = {data.ids[i]: i for i in shard.index}
    for probe in pending:
        advance(0, probe.name)
        wanted = shard.wanted[probe.name]
        mine = [c.take([j for j, name in enumerate(c.batch.ids) if place[name] in wanted]) for c in pieces]
        try:
            observed = observe(probe, [c for c in mine if len(c)])
        except (NotApplicable, CannotComplete) as error:
            observed = Observed(None, stopped=f"{type(error).__name__}: {error}")
        run.save(probe.name, shard.name, observed)


def conclude(run: Run, *, probes: Sequence[Probe] | None = None, gate: Gate | None = None) -> AuditRun:
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
    records = {p.name: run.records(p.name, names) for p in answered} | {SAMPLES: run.records(SAMPLES, names)}
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
    outcome = doc.Result(
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
    return _written(AuditRun(run, outcome))


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
    counts = found.rows.group_by("split").agg(pl.col("sample").n_unique())
    base["samples"] = dict(sorted(zip(counts["split"], counts["sample"], strict=True)))
    try:
        conclusion = probe.conclude(found)
    except NotApplicable as error:
        return doc.ProbeResult(**base, status="not applicable", reason=str(error))
    except Exception as error:  # one probe's mistake must not cost the others their conclusions
        run.write_text(f"errors/{probe.name}.txt", traceback.format_exc())
        why = str(error) if isinstance(error, MuroanError) else f"{type(error).__name__}: {error}"
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


def _environment() -> doc.Environment:
    import torch

    return doc.Environment(
        python=platform.python_version(),
        torch=torch.__version__,
        platform=f"{platform.system()} {platform.machine()}",
    )


def _written(done: AuditRun) -> AuditRun:
    """findings.json and everything drawn from it."""
    from muroan.report.junit import document as junit
    from muroan.report.page import page
    from muroan.report.sarif import text as sarif

    run = done.directory
    run.write_text("findings.json", done.result.to_json())
    run.write_text("junit.xml", junit(done.result))
    run.write_text("findings.sarif", sarif(done.result))
    run.write_text("report.html", page(done.result, run.path / "exhibits"))
    return done


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
    for split, data in plan.data.items():
        for probe in plan.asked():
            if split not in probe.splits:
                continue
            index = plan.samples(probe, split, data)
            loaded = data.load(index[:samples])
            if loaded.batch is None:
                continue
            pieces, _ = clean_pass(metered, loaded.batch, split, plan.seed)
            try:
                observed = observe(probe, pieces)
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


__all__ = ["AuditRun", "audit", "carry_out", "conclude", "prepare", "trial"]
