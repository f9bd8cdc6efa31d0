"""Benchmarks to name (R34 and those of R33): loaders that read a published layout and refuse a partial copy."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

from muroan.data.benchmarks import BENCHMARKS
from muroan.errors import AskedWrongly
from muroan.references import open_data

COPIES = Path(__file__).resolve().parents[1] / "tests" / "data" / "test_benchmarks.py"
"""Where the miniature copies are made that the tests read."""


def copies() -> dict[str, Any]:
    """Name -> (function that writes a miniature copy into a folder, its items)."""
    spec = importlib.util.spec_from_file_location("benchmark_copies", COPIES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Any] = module.COPIES
    return found


def refused(ref: str) -> bool:
    """Whether opening it is refused."""
    try:
        open_data(ref)
    except AskedWrongly:
        return True
    return False


def run() -> dict[str, Any]:
    """Read each miniature copy whole, and take something away from it."""
    measured: dict[str, Any] = {}
    for name, (make, items) in copies().items():
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            make(root)
            data = open_data(f"{name}:{root}?partial=true&size=16").audited
            loaded = data.load(range(len(data)))
            benchmark = BENCHMARKS[name]
            next(p for p in sorted(root.rglob("*")) if p.suffix in (".png", ".jpg", ".jpeg")).unlink()
            measured[name] = {
                "items read": f"{0 if loaded.batch is None else len(loaded.batch)} of {items}",
                "refused when a picture is gone": refused(f"{name}:{root}"),
                "items of the source": benchmark.counts[benchmark.split] or "not checked",
                "counted": benchmark.counted,
            }
    whole = all(m["items read"].split(" of ")[0] == m["items read"].split(" of ")[1] for m in measured.values())
    safe = all(m["refused when a picture is gone"] for m in measured.values())
    return {
        "row": "R34",
        "claim": "A loader reads the user's copy, checks its items against the source, and refuses a partial copy.",
        "source": "the benchmarks that the survey names, and those of Li, Gan & Liu 2020 (arXiv 2012.08673)",
        "measured": measured,
        "verdict": {
            "loaders, on miniature copies in the published layouts": "holds"
            if whole and safe
            else "does not hold here",
            "scores on the benchmarks": "not measurable here: no copy of a benchmark ships",
        },
        "command": "python reproductions/r34.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=1, ensure_ascii=False))
