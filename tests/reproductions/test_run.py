"""The runner of the reproductions: a script that fails, hangs or returns nonsense costs its own row alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

GOOD = '''"""A claim that holds."""
import math
import numpy as np
def run():
    return {"row": "R90", "claim": "Twice two is four.", "source": "arithmetic", "command": "python r90.py",
            "measured": {"product": np.float32(4.0), "none": math.nan, "table": np.eye(2)}, "verdict": "holds"}
'''
SCRIPTS = {
    "r90": GOOD,
    "r91": '"""A claim that needs what is not there."""\nimport a_module_that_is_not_there\n',
    "r92": '"""A claim that takes too long."""\nimport time\ndef run():\n    time.sleep(600)\n',
    "r93": GOOD.replace('"verdict": "holds"', '"verdict": "certainly"'),
    "r94": '"""A claim that kills its process."""\nimport os\ndef run():\n    os.kill(os.getpid(), 9)\n',
    "r95": GOOD.replace("R90", "R95").replace('"holds"', '{"one part": "holds", "another": "undecided"}'),
    "_shared": "raise RuntimeError('not a script')\n",
}


def go(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "reproductions/run.py", *words]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=240)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A project of these scripts alone."""
    place = tmp_path / "project"
    place.mkdir()
    for file in ("reproductions/run.py", "docs/build.py"):
        (place / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, place / file)
    for name, text in SCRIPTS.items():
        (place / "reproductions" / f"{name}.py").write_text(text)
    return place


def rows(place: Path) -> dict[str, dict]:
    return {r["script"]: r for r in json.loads((place / "reproductions" / "results.json").read_text())["rows"]}


@pytest.mark.slow
def test_every_script_has_a_row_and_those_that_did_not_run_say_why(folder):
    done = go(folder, "--timeout", "12")
    found = rows(folder)
    assert sorted(found) == [f"r9{k}" for k in range(6)]
    assert found["r90"]["verdict"] == "holds"
    assert found["r90"]["measured"] == {"product": 4.0, "none": None, "table": [[1.0, 0.0], [0.0, 1.0]]}
    assert found["r95"]["verdict"] == {"one part": "holds", "another": "undecided"}
    for name, why in (
        ("r91", "No module named 'a_module_that_is_not_there'"),
        ("r92", "not finished after 12 s"),
        ("r93", "verdict 'certainly' is none of holds"),
        ("r94", "ended with -9"),
    ):
        assert found[name]["verdict"] == "did not run"
        assert why in found[name]["reason"]
    assert found["r92"]["claim"] == "A claim that takes too long."
    assert done.returncode == 1
    assert "6/6 r95" in done.stdout

    only_some_keeps_the_others_and_draws_the_page(folder)


def only_some_keeps_the_others_and_draws_the_page(folder: Path) -> None:
    (folder / "reproductions" / "r91.py").write_text(
        GOOD.replace("R90", "R91").replace('"holds"', '"does not hold here"')
    )
    done = go(folder, "--only", "R91")
    assert done.returncode == 0, "a claim that does not hold is a result"
    found = rows(folder)
    assert found["r91"]["verdict"] == "does not hold here"
    assert found["r92"]["verdict"] == "did not run"
    page = (folder / "docs" / "systems.md").read_text()
    assert "| R91 | Twice two is four. | arithmetic | does not hold here |" in page
    assert "not finished after 12 s" in page
    assert str(folder) not in page + json.dumps(found)


def test_a_name_that_is_no_script_is_refused(folder):
    done = go(folder, "--only", "r99")
    assert done.returncode == 2
    assert "Known: r90" in done.stderr
