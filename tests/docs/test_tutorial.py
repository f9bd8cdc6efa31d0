"""The tutorial, carried out: every block of code on the page runs, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from muroan import registry

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    text: str


def blocks() -> list[Block]:
    return [Block(m[1], m[2] or "", m[3]) for m in BLOCK.finditer(PAGE.read_text())]


def carried_out(folder: Path) -> list[tuple[Block, str]]:
    """Every block written or run in this folder, and what each said."""
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "120",
    }
    said = []
    for block in blocks():
        if block.title:
            target = folder / block.title
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text)
            continue
        words = [sys.executable, "-c"] if block.language == "python" else ["bash", "-euo", "pipefail", "-c"]
        done = subprocess.run([*words, block.text], cwd=folder, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        said.append((block, done.stdout))
    return said


def test_every_block_is_of_a_kind_that_is_run_or_written():
    found = blocks()
    assert len(found) == PAGE.read_text().count("\n```") / 2, "a fence that the test does not see"
    assert {b.language for b in found} == {"python", "bash", "yaml"}
    assert all(b.title for b in found if b.language == "yaml")


def output(said: list[tuple[Block, str]], words: str) -> str:
    return next(text for block, text in said if words in block.text)


@pytest.mark.slow
def test_the_page_runs_and_ends_where_it_says(tmp_path):
    folder = tmp_path
    said = carried_out(folder)
    assert (folder / "runs" / "plain" / "report.html").stat().st_size > 10_000
    assert "not applicable" in output(said, "runs/endpoint")
    assert "samples in common" in output(said, "muroan diff")
    assert "robustness.missing_modality" in output(said, "muroan explain")
    # Exit codes 2 and 4 are no outcome of an audit that the page shows.
    codes = {int(c) for _, text in said for c in re.findall(r"^exit code (\d)$", text, re.MULTILINE)}
    assert codes <= {1, 3}
    the_step_of_continuous_integration_is_a_command_that_works(folder)


def the_step_of_continuous_integration_is_a_command_that_works(folder: Path) -> None:
    steps = yaml.safe_load((folder / ".github/workflows/audit.yml").read_text())["jobs"]["audit"]["steps"]
    command = next(s["run"] for s in steps if s.get("run", "").startswith("muroan audit"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode in (0, 1), done.stderr
    for name in ("report.html", "junit.xml", "findings.sarif", "findings.json"):
        assert (folder / "runs" / "ci" / name).is_file()


def test_probes_that_the_page_names_exist():
    named = set(re.findall(r"--probe ([\w.]+)", PAGE.read_text()))
    assert named
    assert named <= set(registry.methods("probes"))
