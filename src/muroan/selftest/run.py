"""Carries out a self test: trials in parallel processes, each kept as soon as it is done."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from muroan import registry
from muroan.auditing.progress import progress
from muroan.dataset import Splits
from muroan.errors import AskedWrongly, CannotComplete, MuroanError
from muroan.model import Model
from muroan.organism import Bed, Organism
from muroan.selftest.identity import code_of
from muroan.selftest.plan import Ask, beds_of
from muroan.selftest.trial import Heard, ask
from muroan.training import Trainer

TRIALS = "trials.jsonl"


Price = tuple[str, float, tuple[str, ...], str]
Key = tuple[str, float, int, str, str]
"""World, dose, seed, probe, and the mitigation that mended the model ("" for none)."""


class Record(BaseModel):
    """What a probe said of a world, and by which code."""

    model_config = ConfigDict(frozen=True)

    world: str
    dose: float
    seed: int
    probe: str
    mended: str = ""
    code: str
    heard: Heard
    seconds: float
    """Of the trial, shared among the probes that were asked together."""

    @property
    def key(self) -> Key:
        return self.world, self.dose, self.seed, self.probe, self.mended


def worlds() -> dict[str, Organism | Bed]:
    """Organisms and beds by name."""
    organisms: dict[str, Organism] = registry.methods("organisms")
    return {**organisms, **{b.name: b for b in beds_of(list(organisms.values()))}}


def carry_out(one: Ask, codes: Mapping[str, str]) -> list[Record]:
    """One unit of work, in whichever process. codes: of the probes asked about this world, as the self test began."""
    start = time.perf_counter()
    known = worlds()
    probes = [registry.probe(n)() for n in one.probes]
    place = known[one.world]
    planted = [n for n, o in known.items() if not isinstance(o, Bed) and o.bed == place] or [one.world]
    wanted = {p.name: {m for n in planted for m in p.finds.get(n, ())} for p in probes}
    try:
        model, splits = place.world(one.seed) if isinstance(place, Bed) else place.world(one.dose, one.seed)
        if one.mended:
            model = mended(one.mended, model, splits, one.seed)
        heard = ask(probes, model, splits, seed=one.seed, wanted=wanted)
    except MuroanError as error:  # data that are not installed, say: nothing to be found, nothing that broke
        heard = dict.fromkeys(one.probes, Heard(inapplicable=str(error)))
    except Exception as error:
        heard = dict.fromkeys(one.probes, Heard(failed=f"{type(error).__name__}: {error}"))
    about: dict[str, Any] = {"world": one.world, "dose": one.dose, "seed": one.seed, "mended": one.mended}
    about["seconds"] = (time.perf_counter() - start) / len(probes)
    return [Record(probe=n, code=codes[n], heard=heard[n], **about) for n in one.probes]


def mended(name: str, model: Model, splits: Splits, seed: int) -> Model:
    """A copy of the model after a mitigation with its default settings; worlds are shared, so theirs is left alone."""
    found = registry.mitigation(name)()
    if why := found.why_not(model, splits):
        raise AskedWrongly(f"{name} does not apply to {model.name}: {why}")
    return found.apply(copy.deepcopy(model), splits, Trainer(), seed=seed).model


def read(path: Path) -> dict[Key, Record]:
    """The trials that are kept and whose code is still the same. A line that was cut off by a kill is left out."""
    known = worlds()
    probes, mitigations = registry.methods("probes"), registry.methods("mitigations")
    out = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            record = Record.model_validate_json(line)
        except ValidationError:
            continue
        place, probe = known.get(record.world), probes.get(record.probe)
        if place is None or probe is None or (record.mended and record.mended not in mitigations):
            continue
        if code_of(probe, place, mitigations.get(record.mended)) == record.code:
            out[record.key] = record
    return out


def run(
    asks: Sequence[Ask], out: Path, *, workers: int | None = None, seconds: float | None = None, show: bool = True
) -> dict[Key, Record]:
    """Everything that is asked and not yet kept in `out`; returns the records of all that was asked.

    seconds: begin nothing new after this time; what costs little then gets more seeds than what costs much. The first
    seed of everything is always carried out. Stopped or killed, the same call goes on where it was.
    """
    if out.exists() and not out.is_dir():
        raise AskedWrongly(f"{out} is a file; a self test keeps its trials in a directory")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotComplete(f"{out} could not be made: {error.strerror}") from error
    kept = read(out / TRIALS)
    todo = []
    for a in asks:
        missing = tuple(p for p in a.probes if (a.world, a.dose, a.seed, p, a.mended) not in kept)
        if missing:
            todo.append(Ask(a.world, a.dose, a.seed, missing, a.mended))
    with progress("self test", len(todo), show=show) as advance, open(out / TRIALS, "a", encoding="utf-8") as file:
        file.write("\n")  # what a kill cut off ends here and is not read
        for some in _results(todo, workers or len(os.sched_getaffinity(0)), seconds):
            for record in some:
                file.write(json.dumps(record.model_dump(mode="json")) + "\n")
                kept[record.key] = record
            file.flush()
            advance(1, some[0].world)
    wanted = {(a.world, a.dose, a.seed, p, a.mended) for a in asks for p in a.probes}
    return {key: record for key, record in kept.items() if key in wanted}


def _quiet() -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops the parent, which stops its workers in order
    parent = multiprocessing.parent_process()
    if parent is not None:  # a parent that was killed cannot stop them

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
    torch.set_num_threads(1)


def _results(todo: Sequence[Ask], workers: int, seconds: float | None) -> Iterator[list[Record]]:
    """Every unit's records as they come."""
    start = time.monotonic()
    costs: dict[Price, float] = {}
    waiting = sorted(todo, key=lambda a: a.seed)
    known = worlds()

    def codes(one: Ask) -> dict[str, str]:
        by = registry.mitigation(one.mended) if one.mended else None
        return {p: code_of(registry.probe(p), known[one.world], by) for p in one.probes}

    # A fresh interpreter each: a forked one would inherit the state of torch's thread pool.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_quiet) as pool:
        running: dict[Future[list[Record]], tuple[Ask, float]] = {}
        try:
            while waiting or running:
                over = seconds is not None and time.monotonic() - start > seconds
                while waiting and len(running) < 2 * workers:
                    k = 0
                    if seconds is not None and waiting[0].seed > 0:
                        # Equal time for each question: the k-th seed of a cheap one before the second of a dear one.
                        k = min(range(len(waiting)), key=lambda i: waiting[i].seed * costs.get(_price(waiting[i]), 1.0))
                        if over:
                            waiting.clear()
                            break
                    one = waiting.pop(k)
                    running[pool.submit(carry_out, one, codes(one))] = (one, time.monotonic())
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    one, _ = running.pop(future)
                    records = future.result()
                    costs[_price(one)] = sum(r.seconds for r in records)
                    yield records
        except BrokenProcessPool as error:
            raise CannotComplete(
                "a process of the self test was killed (out of memory?); what was finished is kept, "
                "and the same call goes on from there, with fewer --workers if memory is short"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _price(one: Ask) -> Price:
    return one.world, one.dose, one.probes, one.mended
