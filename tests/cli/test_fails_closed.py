"""Whatever somebody else's code or a damaged file does: no audit that did not happen ends as one that found nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from muroan.auditing.observe import each_or_halves

ROOT = Path(__file__).parents[2]
PROBE = ("--probe", "controllability.fairness")

WORLD = """
import sys
from tests.auditing import worlds
from muroan import BlackBox

inner = worlds.model()
calls = 0

def ask(inputs):
    global calls
    calls += 1
    {trouble}
    return inner.predict(inputs).softmax(dim=1)

def model():
    return BlackBox(ask, modalities=inner.modalities, classes=inner.classes, output="probabilities", name="trouble")
"""


def muroan(*words: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    found = os.pathsep.join([*([str(path)] if path else []), str(ROOT / "src"), str(ROOT), str(cwd)])
    env = {**os.environ, "PYTHONPATH": found, "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-c", "from muroan.cli import main; main()", *words],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def audited(tmp_path: Path, trouble: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    (tmp_path / "trouble.py").write_text(WORLD.replace("{trouble}", trouble))
    out = tmp_path / "run"
    words = ("audit", "torch:trouble:model", "python:tests.auditing.worlds:data", *PROBE, "--out", str(out), "-q")
    return muroan(*words, cwd=tmp_path), out


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_model_that_ends_the_program_does_not_end_the_audit(tmp_path, code):
    done, _ = audited(tmp_path, f"sys.exit({code})")
    assert done.returncode == 4, (done.returncode, done.stderr)
    assert f"it tried to end the program ({code})" in done.stderr


@pytest.mark.parametrize("error", [SystemExit(0), ValueError("bad text \udc80")])
def test_who_ends_the_program_or_says_half_a_character_is_a_sample_like_any_other(error):
    def work(index):
        if 3 in index:
            raise error
        return list(index)

    done, bad = each_or_halves(8, work, [f"s{i}" for i in range(8)], "a probe")
    assert sorted(i for index, _ in done for i in index) == [0, 1, 2, 4, 5, 6, 7]
    [quarantined] = bad
    assert quarantined.sample == "s3"
    assert quarantined.reason.encode() in (b"SystemExit: it tried to end the program (0)", b"ValueError: bad text ?")


def test_a_model_that_ends_the_program_once_costs_nothing(tmp_path):
    done, out = audited(tmp_path, "if calls == 1: sys.exit(0)")
    assert done.returncode in (0, 1), done.stderr
    assert not json.loads((out / "findings.json").read_text())["quarantine"]


def test_a_plugin_that_ends_the_program_is_named_and_the_rest_goes_on(tmp_path):
    site = tmp_path / "site"
    (site / "evil-1.dist-info").mkdir(parents=True)
    (site / "evil.py").write_text("raise SystemExit(0)\n")
    (site / "evil-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1\n")
    (site / "evil-1.dist-info" / "entry_points.txt").write_text("[muroan.plugins]\nevil = evil\n")
    done = muroan("list", "probes", "--json", cwd=tmp_path, path=site)
    assert done.returncode == 0, done.stderr
    assert "robustness.decoupling" in done.stdout
    assert "'evil'" in done.stderr
    assert "tried to end the program" in done.stderr


def test_what_nobody_foresaw_is_one_line_and_not_completed(tmp_path):
    done, out = audited(tmp_path, "pass")
    assert done.returncode in (0, 1), done.stderr
    for file in (out / "evidence").rglob("*.parquet"):
        file.write_bytes(b"PAR1" + file.read_bytes()[4:40])
    done = muroan("report", str(out), cwd=tmp_path)
    assert done.returncode == 4, (done.returncode, done.stderr)
    [line] = [line for line in done.stderr.splitlines() if line.startswith("muroan: ")]
    details = Path(line.split("details: ")[1].rstrip(")"))
    assert "Traceback" in details.read_text()
    details.unlink()
