"""Did a change of the code change what is found? Findings on shipped models and self-test worlds, key by key.

    python tools/compare_findings.py observe before.json             # with the code as it was
    python tools/compare_findings.py observe after.json              # with the code as it is
    python tools/compare_findings.py compare before.json after.json

`observe before.json --keep FOLDER` also keeps the rows that were observed; `conclude after.json --keep FOLDER` then
draws conclusions from them with the code as it is, in seconds.

`observe` asks each probe about each shipped model that it applies to, about the bed of every planted fault that it is
meant to find, and about the fault itself at the dose that matters (seed 0). `--probe NAME`, given once or more, asks
those alone; `--world TEXT` keeps the worlds whose name holds it. A file that is there already is added to.

`compare` ends with 1 where anything differs beyond the tolerance: a key, an estimate, a limit, a verdict. Titles,
notes, controls and charts are compared too, and named apart. `--within 0.002` lets values and bounds move that far.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import torch

from muroan import registry
from muroan.auditing.observe import observe_all
from muroan.auditing.plan import why_not
from muroan.dataset import Splits, Subset
from muroan.evidence import About, Evidence
from muroan.model import Model
from muroan.probe import Probe
from muroan.references import open_data, open_model
from muroan.selftest.trial import findings

Ask = tuple[str, list[Probe], Callable[[], tuple[Model, Splits]]]
SHIPPED = (
    ("easy-vqa", "easy-vqa"),
    ("emoji", "emoji"),
    ("emoji-groups", "emoji-groups"),
    ("multiple-features", "multiple-features"),
    ("watch-right-arm", "watch-other-arm"),
)
SAMPLES = 200
"""Of each split of a shipped model's data."""


def worlds(names: list[str] | None) -> Iterator[Ask]:
    """What is asked: the name of a world, the probes, and how to make it."""
    probes = [registry.probe(n)() for n in names or registry.methods("probes")]
    for model, data in SHIPPED:

        def shipped(model: str = model, data: str = data) -> tuple[Model, Splits]:
            splits = open_data(data)
            return open_model(model, splits), splits

        yield f"shipped: {model} on {data}", probes, shipped
    organisms = list(registry.methods("organisms").values())
    for bed in {o.bed.name: o.bed for o in organisms}.values():
        finders = [p for p in probes if bed.exact or any(o.name in p.finds for o in organisms if o.bed == bed)]
        if finders:
            yield f"bed: {bed.name}", finders, lambda bed=bed: bed.world(0)
    for o in organisms:
        finders = [p for p in probes if o.name in p.finds]
        if finders:
            yield f"fault: {o.name} at {o.matters:g}", finders, lambda o=o: o.world(o.matters, 0)


def ask(probe: Probe, model: Model, splits: Splits, keep: Path | None) -> dict[str, Any]:
    """All that a probe concludes. One that joins others gets their evidence where that does not take long."""
    if why := why_not(probe, model, splits):
        return {"inapplicable": why}
    others = [registry.probe(n)() for n in probe.joins]
    others = [o for o in others if not why_not(o, model, splits)] if len(splits.audited) <= SAMPLES else []
    start = time.perf_counter()
    observed, _ = observe_all([probe, *others], model, splits)
    seconds = time.perf_counter() - start
    if probe.name not in observed:
        return {"inapplicable": "no sample could be observed"}
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / "about.json").write_text(json.dumps(asdict(observed[probe.name].about)))
        (keep / "settings.json").write_text(json.dumps(probe.settings()))
        for name, evidence in observed.items():
            evidence.rows.write_parquet(keep / f"{name}.parquet")
    return concluded(probe, observed[probe.name]) | {"seconds": seconds}


def kept(probe: str, folder: Path) -> tuple[Probe, Evidence]:
    """A probe as it was asked and the evidence that `ask` kept."""
    about = json.loads((folder / "about.json").read_text())
    about |= {"classes": tuple(about["classes"]), "groups": {g: tuple(v) for g, v in about["groups"].items()}}
    known = {f.stem: Evidence(pl.read_parquet(f), About(**about)) for f in sorted(folder.glob("*.parquet"))}
    asked = registry.probe(probe).configured(json.loads((folder / "settings.json").read_text()))
    return asked, known[probe].joining({n: e for n, e in known.items() if n != probe})


def concluded(probe: Probe, evidence: Evidence) -> dict[str, Any]:
    """Findings by key, judged by the probe's own limits, with charts and notes."""
    conclusion = probe.conclude(evidence)
    judged = findings(probe, evidence)
    return {
        "findings": {f"{f.key} #{k}": f.model_dump(mode="json") for k, f in _numbered(judged)},
        "order": [f.key for f in judged],
        "charts": [c.model_dump(mode="json") for c in conclusion.charts],
        "notes": list(conclusion.notes),
    }


def _numbered(found: list[Any]) -> Iterator[tuple[int, Any]]:
    """Findings with the same key are told apart by their number."""
    seen: dict[str, int] = {}
    for f in found:
        k = seen[f.key] = seen.get(f.key, -1) + 1
        yield k, f


def observe(out: Path, names: list[str] | None, world: str, keep: Path | None) -> int:
    known: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    for name, probes, make in worlds(names):
        wanted = [p for p in probes if p.name not in known.get(name, {})]
        if world not in name or not wanted:
            continue
        model, splits = make()
        if name.startswith("shipped"):
            parts = {s: Subset(d, range(0, len(d), -(-len(d) // SAMPLES)), d.name) for s, d in splits.items()}
            splits = Splits(**parts)
        for probe in wanted:
            if isinstance(probe, registry.probe("robustness.transfer")) and name.startswith("shipped"):
                probe = probe.configured({"surrogate": name.removeprefix("shipped: ").split(" on ")[0]})
            folder = None if keep is None else keep / re.sub("[^a-z0-9.]+", "-", name) / probe.name
            try:
                found = ask(probe, model, splits, folder)
            except Exception as error:  # what breaks is an outcome, and compared like any other
                found = {"inapplicable": f"{type(error).__name__}: {error}"}
            known.setdefault(name, {})[probe.name] = found
            print(
                f"{found.get('seconds', 0):6.1f} s  {name} | {probe.name} {found.get('inapplicable', '')}", flush=True
            )
            out.write_text(json.dumps(known))
    return 0


def conclude(out: Path, names: list[str] | None, world: str, keep: Path) -> int:
    known: dict[str, Any] = {}
    for name, probes, _ in worlds(names):
        for probe in probes if world in name else ():
            folder = keep / re.sub("[^a-z0-9.]+", "-", name) / probe.name
            if (folder / f"{probe.name}.parquet").exists():
                known.setdefault(name, {})[probe.name] = concluded(*kept(probe.name, folder))
    out.write_text(json.dumps(known))
    return 0


WORDS = ("title", "note", "reason")


def compare(before: Path, after: Path, within: float) -> int:
    old, new = json.loads(before.read_text()), json.loads(after.read_text())
    broken, words, same, counted = [], [], 0, 0
    for world in sorted(set(old) & set(new)):
        for probe in sorted(set(old[world]) & set(new[world])):
            a, b = old[world][probe], new[world][probe]
            where = f"{world} | {probe}"
            counted += 1
            differences, said = _differences(a, b, within)
            broken += [f"{where}: {d}" for d in differences]
            words += [f"{where}: {d}" for d in said]
            same += not differences
    for line in words:
        print("words ", line)
    for line in broken:
        print("FIGURE", line)
    print(f"{same} of {counted} pairs of a world and a probe have equal figures; {len(words)} differences in words")
    return 1 if broken else 0


def _differences(a: dict[str, Any], b: dict[str, Any], within: float) -> tuple[list[str], list[str]]:
    if "findings" not in a or "findings" not in b:
        same = a.get("inapplicable") == b.get("inapplicable")
        return ([] if same else [f"{a.get('inapplicable')!r} became {b.get('inapplicable')!r}"]), []
    figures, words = [], []
    gone, come = set(a["findings"]) - set(b["findings"]), set(b["findings"]) - set(a["findings"])
    figures += [f"gone: {k}" for k in sorted(gone)] + [f"new: {k}" for k in sorted(come)]
    for key in a["findings"]:
        if key not in b["findings"]:
            continue
        x, y = a["findings"][key], b["findings"][key]
        for field in x:
            if _alike(x[field], y.get(field), within):
                continue
            line = f"{key} {field}: {x[field]!r} became {y.get(field)!r}"
            (words if field in WORDS else figures).append(line[:400])
    if not gone and not come and a["order"] != b["order"]:
        words.append("the order of findings differs")
    if not _alike(a["charts"], b["charts"], within):
        k = next(
            (k for k, (x, y) in enumerate(zip(a["charts"], b["charts"], strict=False)) if not _alike(x, y, within)), -1
        )
        words.append(f"charts differ, {len(a['charts'])} and {len(b['charts'])}, first at {k}")
    if a["notes"] != b["notes"]:
        before = [n for n in a["notes"] if n not in b["notes"]]
        words.append(f"notes: {before} became {[n for n in b['notes'] if n not in a['notes']]}")
    return figures, words


def _alike(x: Any, y: Any, within: float) -> bool:
    """Equal, numbers up to the tolerance (and rounding)."""
    if isinstance(x, bool) or isinstance(y, bool) or x is None or y is None:
        return x is y
    if isinstance(x, int | float) and isinstance(y, int | float):
        return x == y or abs(x - y) <= max(within, 1e-9 * max(abs(x), abs(y)))
    if isinstance(x, dict) and isinstance(y, dict):
        return x.keys() == y.keys() and all(_alike(v, y[k], within) for k, v in x.items())
    if isinstance(x, list) and isinstance(y, list):
        return len(x) == len(y) and all(_alike(v, w, within) for v, w in zip(x, y, strict=True))
    return bool(x == y)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("observe", "conclude"):
        seeing = commands.add_parser(name)
        seeing.add_argument("out", type=Path)
        seeing.add_argument("--probe", action="append")
        seeing.add_argument("--world", default="")
        seeing.add_argument("--keep", type=Path, required=name == "conclude")
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    comparing.add_argument("--within", type=float, default=1e-9)
    given = parser.parse_args()
    if given.command == "observe":
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        return observe(given.out, given.probe, given.world, given.keep)
    if given.command == "conclude":
        return conclude(given.out, given.probe, given.world, given.keep)
    return compare(given.before, given.after, given.within)


if __name__ == "__main__":
    raise SystemExit(main())
