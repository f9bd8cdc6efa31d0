"""Carrying out a plan: every shard that is not observed yet goes through the clean pass and the probes."""

from __future__ import annotations

import platform
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from muroan.auditing.engines import engine as engine_named
from muroan.auditing.observe import Observed, clean_pass, observe, restricted, sample_rows
from muroan.auditing.plan import Plan, Shard
from muroan.auditing.progress import Advance, progress
from muroan.auditing.result import Environment
from muroan.auditing.store import Run
from muroan.clean import Clean
from muroan.errors import CannotComplete, NotApplicable
from muroan.evidence import SAMPLES
from muroan.meter import Meter, Metered


def observe_plan(plan: Plan, out: Path, *, engine: str = "local", show_progress: bool = True) -> Run:
    """Observe what the run directory does not have yet; all of the plan is there when this returns."""
    works = engine_named(engine)
    run = Run(out)
    run.start(
        plan.to_json()
        | {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": plan.command(),
            "environment": _environment().model_dump(),
        }
    )
    shards = plan.shards
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
    return run


def _done(run: Run, shard: Shard) -> bool:
    return run.done(SAMPLES, shard.name) and all(run.done(p, shard.name) for p in shard.wanted)


def observe_shard(plan: Plan, run: Run, metered: Metered, shard: Shard, advance: Advance) -> None:
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
            raise CannotComplete(f"{plan.model.name} failed on all {len(bad)} samples of {shard.name}: {bad[0].reason}")
    if not run.done(SAMPLES, shard.name):
        frames = [sample_rows(c) for c in pieces]
        rows = pl.concat(frames, how="diagonal_relaxed") if frames else None
        seconds = time.perf_counter() - start
        run.save(SAMPLES, shard.name, Observed(rows, [], quarantined, metered.meter, seconds))
    for probe in pending:
        advance(0, probe.name)
        try:
            observed = observe(probe, restricted(pieces, data, shard.index, shard.wanted[probe.name]))
        except (NotApplicable, CannotComplete) as error:
            observed = Observed(None, stopped=f"{type(error).__name__}: {error}")
        run.save(probe.name, shard.name, observed)


def _environment() -> Environment:
    import torch

    return Environment(
        python=platform.python_version(),
        torch=torch.__version__,
        platform=f"{platform.system()} {platform.machine()}",
    )
