"""A killed audit, asked again, ends with the findings it would have had: real processes, SIGKILL, random moments."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from muroan.api import audit
from tests.auditing.test_run import essence
from tests.auditing.worlds import PROBES, data, slow

ROOT = Path(__file__).parents[2]
CODE = """
import torch
torch.set_num_threads(1)
from tests.auditing.worlds import PROBES, data, slow
from muroan.api import audit
print("up", flush=True)
audit(slow(), data(), probes=PROBES, out={out!r}, shard=12, show_progress=False)
"""


def start(out: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE.format(out=str(out))],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n", process.stderr.read() if process.stderr else ""
    return process


def finish(out: Path):
    return audit(slow(), data(), probes=PROBES, out=out, shard=12, show_progress=False)


def test_killed_at_random_moments_it_ends_with_the_same_findings(tmp_path):
    whole = finish(tmp_path / "whole")
    out = tmp_path / "killed"
    rng = random.Random(0)
    partial = []
    for k in range(4):
        process = start(out)
        time.sleep(rng.uniform(0.3, 1.5))
        while k == 3 and process.poll() is None and not list(out.glob("evidence/*/*.parquet")):
            time.sleep(0.05)  # a busy machine takes longer than a moment to get anywhere
        process.send_signal(signal.SIGKILL)
        process.communicate()
        partial.append(len(list((out / "evidence").rglob("*.parquet"))) if (out / "evidence").is_dir() else 0)
        for file in (out / "evidence").rglob("*.json") if (out / "evidence").is_dir() else ():
            if not file.name.startswith("."):
                json.loads(file.read_text())
    assert partial == sorted(partial)
    assert partial[-1] > 0, "every kill came before the first shard"
    assert essence(finish(out)) == essence(whole)
    assert not [p for p in out.rglob("*") if p.name.startswith(".")]


def test_control_c_says_how_to_go_on(tmp_path):
    out = tmp_path / "run"
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "sys.argv = ['muroan', 'audit', 'torch:tests.auditing.worlds:slow', 'python:tests.auditing.worlds:data',\n"
        f"            '--probe', 'controllability.fairness', '--out', {str(out)!r}]\n"
        "import muroan.auditing.plan as plan\n"
        "plan.prepare.__kwdefaults__['shard'] = 4\n"
        "from muroan.cli import main\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(out.rglob("*.parquet")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert f"stopped. What was finished is kept: give --out {out} again to go on." in err
    assert "Traceback" not in err
