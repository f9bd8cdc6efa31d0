"""What a user calls: audit a model, and draw what was found."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from muroan.auditing.conclude import conclude
from muroan.auditing.gate import Gate
from muroan.auditing.plan import SHARD, DataAsked, ModelAsked, Plan, ProbesAsked, prepare
from muroan.auditing.result import Result
from muroan.auditing.run import observe_plan
from muroan.auditing.store import Run
from muroan.finding import Finding


@dataclass(frozen=True)
class AuditRun:
    """A finished audit: its directory and its conclusions."""

    directory: Run
    result: Result

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
        from muroan.report import render

        target = Path(path) if path is not None else self.path / "report.html"
        target.write_text(render(self.result, self.path / "exhibits"), encoding="utf-8")
        return target


def audit(
    model: ModelAsked,
    data: DataAsked,
    *,
    probes: ProbesAsked = None,
    gate: Gate | str | os.PathLike[str] | None = None,
    reference: DataAsked | None = None,
    members: DataAsked | None = None,
    splits: Mapping[str, DataAsked] | None = None,
    out: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    engine: str = "local",
    shard: int = SHARD,
    level: float = 0.95,
    show_progress: bool = True,
) -> AuditRun:
    """Audit a model on data: which limits does it break, and how sure are we?

    model: a `muroan.Model` or a reference ("easy-vqa", "torch:module:factory"). data: a `Dataset`, `Splits`, or a
    reference ("easy-vqa", "table.csv"). probes: names, instances, or {name: settings}; None asks every probe.
    gate: limits, a `Gate` or a YAML file. reference: data disjoint from `data` on which thresholds are fitted;
    split off if a probe needs one. members: a sample of the training data, for privacy questions. splits: data of
    other names ("forget"), for what asks for them. out: the run directory; given again with the same request, the
    audit goes on where it stopped. limit: audit a random subset of this size. level: of every interval.

    Raises `AskedWrongly` if the request cannot be carried out, `CannotComplete` if the audit had to stop.
    """
    plan = prepare(
        model,
        data,
        probes=probes,
        gate=gate,
        reference=reference,
        members=members,
        named=splits,
        limit=limit,
        seed=seed,
        shard=shard,
        level=level,
    )
    where = Path(out) if out is not None else Path("runs") / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    return carry_out(plan, where, engine=engine, show_progress=show_progress)


def carry_out(plan: Plan, out: Path, *, engine: str = "local", show_progress: bool = True) -> AuditRun:
    """Observe what is not observed yet, conclude, and write every document."""
    run = observe_plan(plan, out, engine=engine, show_progress=show_progress)
    return _written(AuditRun(run, conclude(run, probes=plan.probes)))


def draw_again(run: Run, *, gate: Gate | None = None) -> AuditRun:
    """Conclusions and documents of a finished run once more, from its evidence alone, perhaps by another gate."""
    return _written(AuditRun(run, conclude(run, gate=gate)))


def _written(done: AuditRun) -> AuditRun:
    """findings.json and everything drawn from it."""
    from muroan.report import render
    from muroan.report.junit import document as junit
    from muroan.report.sarif import text as sarif

    run = done.directory
    run.write_text("findings.json", done.result.to_json())
    run.write_text("junit.xml", junit(done.result))
    run.write_text("findings.sarif", sarif(done.result))
    run.write_text("report.html", render(done.result, run.path / "exhibits"))
    return done
