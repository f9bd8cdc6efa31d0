"""Carrying out a plan: every shard that is not observed yet goes through the clean pass and the probes."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from muroan.auditing.engines import engine as engine_named
from muroan.auditing.observe import Observed, Prepared, clean_pass, observe, prepare, restricted, sample_rows
from muroan.auditing.plan import Plan, Shard
from muroan.auditing.progress import Advance, progress
from muroan.auditing.result import Environment
from muroan.auditing.store import PREPARED, Run
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
    for shard in shards:
        if shard not in todo:
            run.let_go(shard.name)
    metered = Metered(plan.model, plan.data.audited.schema.modalities)
    total = sum(len(s.index) for s in todo)
    fitted: dict[str, Prepared] = {}
    with progress("observing", total, show=show_progress) as advance:
        for probe in plan.asked():
            if probe.prepares and any(probe.name in s.wanted and not run.done(probe.name, s.name) for s in todo):
                advance(0, f"{probe.name}, preparing")
                fitted[probe.name] = prepare(probe, metered, plan.data.reference, plan.seed)
                run.save(probe.name, PREPARED, fitted[probe.name].cost)

        def work(task: Shard) -> Shard:
            advance(0, task.split)
            observe_shard(plan, run, metered, task, advance, fitted)
            return task

        for task in works.run(todo, work):
            advance(len(task.index), task.split)
    return run


def _done(run: Run, shard: Shard) -> bool:
    return run.done(SAMPLES, shard.name) and all(run.done(p, shard.name) for p in shard.wanted)


def observe_shard(
    plan: Plan, run: Run, metered: Metered, shard: Shard, advance: Advance, fitted: Mapping[str, Prepared]
) -> None:
    """One shard: load, clean pass, every probe that has not seen it yet. fitted: what probes prepared, by name.

    What the model answered to a probe is kept until those after it are done too, and put back when the shard is gone on
    with: in the last digit an answer may depend on what else was asked with it, so it must be that one again.
    """
    data = dict(plan.data.items())[shard.split]
    asked = [p.name for p in plan.asked() if p.name in shard.wanted]
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
    for probe in plan.asked():
        if probe.name not in asked:
            continue
        if run.done(probe.name, shard.name):
            run.put_back(probe.name, shard.name, metered.answers)
            continue
        advance(0, probe.name)
        known = metered.answers.count
        try:
            some = restricted(pieces, data, shard.index, shard.wanted[probe.name])
            observed = observe(probe, some, fitted.get(probe.name))
        except (NotApplicable, CannotComplete) as error:
            observed = Observed(None, stopped=f"{type(error).__name__}: {error}")
        answers = metered.answers.since(known) if probe.name != asked[-1] else None
        run.save(probe.name, shard.name, observed, answers)
    run.let_go(shard.name)


def _environment() -> Environment:
    import torch

    return Environment(
        python=platform.python_version(),
        torch=torch.__version__,
        platform=f"{platform.system()} {platform.machine()}",
    )
