"""Runs the reproductions one after another and writes what they measured.

    python reproductions/run.py                 all of them
    python reproductions/run.py --only r01,m31  some; what is known of the others is kept

Every script `rNN.py`, `mNN.py`, `cNN.py` or `aNN.py` here has `run() -> dict` with row, claim, source, measured,
verdict and command. Each runs in a process of its own, so that one that fails, hangs or crashes costs its own row
alone: that row says "did not run" and why. `results.json` holds figures and versions, nothing about the machine.
Ends with 1 if a script did not run; a claim that does not hold is a result, not a failure.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
SCRIPT = re.compile(r"[a-z]\d+[a-z]?")
ENTRIES = ("row", "claim", "source", "measured", "verdict", "command")
VERDICTS = ("holds", "does not hold here", "undecided", "not measurable here")
DID_NOT_RUN = "did not run"
UNMEASURED = {
    "R20 VLAttack": "not built: its two stages are R14's and R19's ideas",
    "R22 Schlarmann & Hein": "not built: an attack on captions, which needs models that generate",
    "R23 staged ensemble attack": "not built: an attack on captions, which needs models that generate",
}
"""Rows of the taxonomy's robustness part that no script measures, and why."""


def scripts() -> list[str]:
    """Names of all scripts, in order."""
    return sorted(p.stem for p in HERE.glob("*.py") if SCRIPT.fullmatch(p.stem))


def plain(value: Any) -> Any:
    """Anything a script may measure as JSON has it: arrays as lists, estimates as their text, NaN as null."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def checked(found: Any) -> dict[str, Any]:
    """What a script returned, if it has the shape that it should; raises ValueError saying what it lacks."""
    if not isinstance(found, dict):
        raise ValueError(f"run() returned {type(found).__name__}, expected a dict")
    missing = [e for e in ENTRIES if e not in found]
    if missing:
        raise ValueError(f"run() returned no {', '.join(missing)}")
    given = found["verdict"]
    for verdict in given.values() if isinstance(given, Mapping) else [given]:
        if not str(verdict).startswith(VERDICTS):
            raise ValueError(f"verdict {verdict!r} is none of {', '.join(VERDICTS)}")
    return plain(found)


def child(name: str, target: str) -> None:
    """In a process of its own: run one script, leave its result in a file."""
    import importlib

    sys.path.insert(0, str(HERE))
    found = importlib.import_module(name).run()
    Path(target).write_text(json.dumps(checked(found), ensure_ascii=False), encoding="utf-8")


def carried_out(name: str, seconds: float) -> dict[str, Any]:
    """One script's result, or why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "result.json"
        words = [sys.executable, str(HERE / "run.py"), "--child", name, str(target)]
        try:
            done = subprocess.run(words, cwd=HERE.parent, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            return failed(name, f"not finished after {seconds:g} s")
        if done.returncode == 0 and target.is_file():
            return json.loads(target.read_text(encoding="utf-8"))
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return failed(name, said[-1] if said else f"ended with {done.returncode} and said nothing")


def failed(name: str, reason: str) -> dict[str, Any]:
    """A row for a script that gave none. Paths of this machine stay here."""
    for path in (str(HERE.parent), sys.prefix, str(Path.home()), tempfile.gettempdir()):
        reason = reason.replace(path + os.sep, "").replace(path, "")
    return {
        "row": name.upper(),
        "claim": claim_of(name),
        "source": "",
        "measured": {},
        "verdict": DID_NOT_RUN,
        "reason": reason[:300],
        "command": f"python reproductions/{name}.py",
    }


def claim_of(name: str) -> str:
    """The first sentence of a script's docstring: what is known of it without running it."""
    import ast

    try:
        text = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8"))) or ""
    except SyntaxError:
        return ""
    return " ".join(text.split("\n\n")[0].split())


def known() -> dict[str, dict[str, Any]]:
    """What was measured before, by script."""
    if not RESULTS.is_file():
        return {}
    return {r["script"]: r for r in json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]}


def written(rows: Mapping[str, dict[str, Any]]) -> None:
    """results.json, whole or not at all."""
    import torch

    import muroan

    document = {
        "muroan": muroan.__version__,
        "torch": torch.__version__.split("+")[0],
        "rows": [{"script": name, **rows[name]} for name in scripts() if name in rows],
        "unmeasured": UNMEASURED,
    }
    aside = RESULTS.with_suffix(".json.aside")
    aside.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    aside.replace(RESULTS)


def drawn() -> None:
    """docs/systems.md from results.json."""
    import importlib.util

    path = HERE.parent / "docs" / "build.py"
    spec = importlib.util.spec_from_file_location("docs_build", path)
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    (path.parent / "systems.md").write_text(build.systems(), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the reproductions and write results.json.")
    parser.add_argument("--only", default="", help="names of scripts, with commas between them")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds a script may take")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(*asked.child)
        return 0
    wanted = [n.strip().lower() for n in asked.only.split(",") if n.strip()] or scripts()
    unknown = sorted(set(wanted) - set(scripts()))
    if unknown:
        print(f"no script {', '.join(unknown)}. Known: {', '.join(scripts())}", file=sys.stderr)
        return 2
    rows = known() if asked.only else {}
    for k, name in enumerate(wanted, 1):
        print(f"{k}/{len(wanted)} {name}: ", end="", flush=True)
        start = time.perf_counter()
        rows[name] = carried_out(name, asked.timeout)
        why = f" ({rows[name]['reason']})" if rows[name]["verdict"] == DID_NOT_RUN else ""
        print(f"{rows[name]['verdict']}{why}, {time.perf_counter() - start:.0f} s", flush=True)
        written(rows)  # after each one: a stop loses nothing
    drawn()
    return 1 if any(rows[n]["verdict"] == DID_NOT_RUN for n in wanted) else 0


if __name__ == "__main__":
    raise SystemExit(main())
