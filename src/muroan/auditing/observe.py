"""What happens to one shard: load, clean pass, every probe; whatever a sample breaks stays with that sample."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import polars as pl

from muroan.batch import Batch
from muroan.clean import Clean
from muroan.dataset import Dataset, Quarantined, Splits
from muroan.errors import FOREIGN, AskedWrongly, CannotComplete, NotApplicable, told
from muroan.evidence import About, Evidence
from muroan.meter import Meter, Metered
from muroan.model import Model
from muroan.probe import Observation, Probe, Shown
from muroan.randomness import choose

FATAL = (CannotComplete, AskedWrongly, NotApplicable, MemoryError)
"""Errors that are not about a sample. A full disk and the like are for the caller too."""
GIVE_UP = 8
"""When this many single samples failed one after another for the same reason, the rest is not tried."""

T = TypeVar("T")


def each_or_halves(
    n: int, work: Callable[[Sequence[int]], T], ids: Sequence[str], stage: str
) -> tuple[list[tuple[list[int], T]], list[Quarantined]]:
    """`work` on all n samples at once; where that raises, on halves, down to the samples that are to blame.

    Returns what worked, in order, and a quarantine row for each sample on which `work` raises alone.
    """
    done: list[tuple[list[int], T]] = []
    bad: list[Quarantined] = []
    streak: list[str] = []

    # A loop and no functions that call each other: those would be a cycle that keeps what was done, pictures and all,
    # until the next full collection of garbage.
    left = [list(range(n))] if n else []
    while left:
        index = left.pop()
        if len(streak) >= GIVE_UP and len(set(streak[-GIVE_UP:])) == 1 and not done:
            reason = f"not tried after {GIVE_UP} samples failed alike: {streak[-1]}"
            bad.extend(Quarantined(ids[i], stage, reason) for i in index)
            continue
        try:
            done.append((index, work(index)))
        except FATAL:
            raise
        except FOREIGN as error:
            if len(index) > 1:
                half = len(index) // 2
                left += [index[half:], index[:half]]
                continue
            reason = told(error)
            streak.append(reason)
            bad.append(Quarantined(ids[index[0]], stage, reason))
    return done, bad


def clean_pass(model: Metered, batch: Batch, split: str, seed: int) -> tuple[list[Clean], list[Quarantined]]:
    """The clean pass, in one piece where the model takes every sample, else in the pieces that it takes.

    What is remembered of samples before is forgotten: what is found about these depends on no others.
    """
    model.forget()
    done, bad = each_or_halves(
        len(batch),
        lambda index: Clean.observe(
            model, batch if len(index) == len(batch) else batch.take(index), split=split, seed=seed
        ),
        batch.ids,
        "clean pass",
    )
    return [clean for _, clean in done], bad


def sample_rows(clean: Clean) -> pl.DataFrame:
    """The audit's own evidence: what is known about each sample, and what the model says to it untouched."""
    batch = clean.batch
    columns: dict[str, Any] = {
        "cluster": pl.Series("cluster", batch.clusters, dtype=pl.String)
        if batch.clusters is not None
        else pl.Series("cluster", [None] * len(batch), dtype=pl.String),
        "target": batch.targets,
        "clean_predicted": clean.predicted,
        "clean_confidence": clean.confidence(clean.logits),
        "clean_correct": clean.correct,
    } | {f"group.{name}": list(values) for name, values in batch.groups.items()}
    return clean.rows("clean", split=[clean.split] * len(batch), **columns)


@dataclass
class Observed:
    """A probe's rows for one shard (None if no sample was left), and what else came of it."""

    rows: pl.DataFrame | None
    shown: list[Shown] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    meter: Meter = field(default_factory=Meter)
    seconds: float = 0.0
    stopped: str = ""
    """Why the probe stopped on this shard altogether, as "ErrorName: reason"; empty if it did not."""


def restricted(pieces: Sequence[Clean], data: Dataset, index: Sequence[int], wanted: Container[int]) -> list[Clean]:
    """What a probe sees of a shard's clean pass: the samples whose positions in `data` are wanted, no empty piece.

    index: the positions that the shard was loaded from.
    """
    chosen = {data.ids[i] for i in index if i in wanted}
    some = [c.take([j for j, name in enumerate(c.batch.ids) if name in chosen]) for c in pieces]
    return [c for c in some if len(c)]


def _observe_some(probe: Probe, clean: Clean, index: Sequence[int]) -> Observation:
    return probe.observe(clean.take(index))


@dataclass
class Prepared:
    """What a probe fitted before observing, what that took, and why it could not be done (`stopped`, as above)."""

    values: Mapping[str, Any] = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter)
    seconds: float = 0.0
    stopped: str = ""

    @property
    def cost(self) -> Observed:
        """Without rows: what it took."""
        return Observed(None, meter=self.meter, seconds=self.seconds, stopped=self.stopped)


def prepare(probe: Probe, model: Metered, reference: Dataset | None, seed: int) -> Prepared:
    """What a probe has to fit before it observes; a probe that fits nothing takes nothing."""
    import time

    if not probe.prepares:
        return Prepared()
    if reference is None:
        return Prepared(stopped=f"{NotApplicable.__name__}: needs a reference disjoint from the data audited")
    start, model.meter = time.perf_counter(), Meter()
    model.forget()
    try:
        values = {probe.name: probe.prepare(model, reference, seed)}
    except (NotApplicable, CannotComplete) as error:
        return Prepared(stopped=f"{type(error).__name__}: {error}")
    except (AskedWrongly, MemoryError):
        raise
    except FOREIGN as error:  # a reference that one probe stumbles over must not cost the others their audit
        why = f"could not prepare: {told(error)}"
        return Prepared(stopped=f"{CannotComplete.__name__}: {why}")
    return Prepared(values, model.meter, time.perf_counter() - start)


def observe(probe: Probe, pieces: Sequence[Clean], prepared: Prepared | None = None) -> Observed:
    """One probe over the pieces of a shard's clean pass, metered."""
    import time

    if prepared is not None and prepared.stopped:
        return Observed(None, stopped=prepared.stopped)
    if prepared is not None and prepared.values:
        pieces = [replace(clean, prepared=prepared.values) for clean in pieces]
    frames: list[pl.DataFrame] = []
    out = Observed(None)
    start = time.perf_counter()
    for clean in pieces:
        model = clean.model
        model.meter = Meter()
        model.forget_codes(*clean.codes.values())  # answers are shared by all probes, codes by the clean pass and each
        done, bad = each_or_halves(len(clean), partial(_observe_some, probe, clean), clean.batch.ids, probe.name)
        out.meter.merge(model.meter)
        out.quarantined.extend(bad)
        for _, found in done:
            frames.append(found.rows.with_columns(pl.lit(clean.split).alias("split")))
            out.shown.extend(found.shown)
    out.seconds = time.perf_counter() - start
    if frames:
        out.rows = pl.concat(frames, how="diagonal_relaxed")
    return out


def selection(data: Dataset, limit: int | None, seed: int, split: str) -> list[int]:
    """Which samples of a split are observed: all, or a random subset that depends on ids and seed alone.

    Subsets of different size are nested, so probes with different limits share most of their samples.
    """
    n = len(data)
    return list(range(n)) if limit is None or limit >= n else choose(data.ids, limit, seed, "selection", split)


def about(model: Model, data: Dataset, seed: int, level: float = 0.95) -> About:
    """What conclusions may know beside the rows."""
    schema = data.schema
    return About(
        classes=schema.classes,
        modalities={m: schema.modalities[m].kind for m in model.modalities},
        groups=dict(schema.groups),
        cluster=schema.cluster,
        seed=seed,
        level=level,
    )


def observe_all(
    probes: Sequence[Probe],
    model: Model,
    splits: Splits,
    *,
    seed: int = 0,
    shard: int = 512,
    apart: bool = True,
) -> tuple[dict[str, Evidence], list[Quarantined]]:
    """Evidence of some probes, in memory: an audit without a run directory, for tests and small experiments."""
    metered = Metered(model, splits.audited.schema.modalities, apart=apart)
    frames: dict[str, list[pl.DataFrame]] = {p.name: [] for p in probes}
    samples: list[pl.DataFrame] = []
    quarantined: list[Quarantined] = []
    fitted = {p.name: prepare(p, metered, splits.reference, seed) for p in probes}
    for ready in fitted.values():
        if ready.stopped:
            raise NotApplicable(ready.stopped.partition(": ")[2])
    for split, data in splits.items():
        wanted = {p.name: set(selection(data, p.limit, seed, split)) for p in probes if split in p.splits}
        union = sorted(set().union(*wanted.values())) if wanted else []
        for k in range(0, len(union), shard):
            index = union[k : k + shard]
            loaded = data.load(index)
            quarantined.extend(loaded.quarantined)
            if loaded.batch is None:
                continue
            pieces, bad = clean_pass(metered, loaded.batch, split, seed)
            quarantined.extend(bad)
            samples.extend(sample_rows(c) for c in pieces)
            for p in probes:
                if split not in p.splits:
                    continue
                found = observe(p, restricted(pieces, data, index, wanted[p.name]), fitted[p.name])
                quarantined.extend(found.quarantined)
                if found.rows is not None:
                    frames[p.name].append(found.rows)
    known = about(model, splits.audited, seed)
    return gather(frames, samples, known, {p.name: p.joins for p in probes}), quarantined


def gather(
    frames: dict[str, list[pl.DataFrame]],
    samples: list[pl.DataFrame],
    known: About,
    joins: dict[str, tuple[str, ...]],
) -> dict[str, Evidence]:
    """Rows of all probes as evidence, joined with what is known about the samples and with each other."""
    if not samples:
        return {}
    facts = pl.concat(samples, how="diagonal_relaxed").unique("sample", maintain_order=True).drop("condition")
    facts = facts.with_columns(pl.col("sample", "split").cast(pl.String))
    plain = {
        name: Evidence(pl.concat(rows, how="diagonal_relaxed"), known, samples=facts)
        for name, rows in frames.items()
        if rows
    }
    return {name: e.joining({o: plain[o] for o in joins.get(name, ()) if o in plain}) for name, e in plain.items()}
