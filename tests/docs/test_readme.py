"""What the README shows runs as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


def test_the_example_runs(tmp_path):
    example = next(b for b in blocks("python") if "muroan.audit(" in b)
    assert len([line for line in example.splitlines() if line.strip()]) <= 12
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^(pass|fail|undecided) \| .+ \| -?\d", done.stdout, re.MULTILINE)
    assert "without image" in done.stdout
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert (tmp_path / "my-run" / "findings.json").is_file()


def test_the_wrappers_are_calls_that_work():
    import torch

    import muroan

    calls = next(b for b in blocks("python") if "TorchModel" in b)
    known = {
        "muroan": muroan,
        "vision": torch.nn.Flatten(),
        "text": lambda texts: torch.tensor([[float(len(t))] for t in texts]),
        "fuse": lambda codes: torch.cat([codes["image"], codes["question"]], dim=1),
        "head": torch.nn.Linear(13, 2),
        "ask": lambda inputs: [[0.5, 0.5]] * len(inputs["question"]),
    }
    inputs = {"image": torch.zeros(3, 3, 2, 2), "question": ["a", "b", "c"]}
    for line in calls.strip().splitlines():
        assert eval(line, known).predict(inputs).shape == (3, 2)
