"""The commands as a user types them: exit codes, documents, messages; start-up stays light."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from muroan.cli.app import app

ROOT = Path(__file__).parents[2]
MODEL, DATA = "torch:tests.auditing.worlds:model", "python:tests.auditing.worlds:data"
PROBE = ("--probe", "controllability.fairness", "--probe", "robustness.missing_modality")


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(ROOT)


def muroan(*words: str):
    return CliRunner().invoke(app, list(words))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "run"
    done = CliRunner().invoke(app, ["audit", MODEL, DATA, *PROBE, "--out", str(out), "-q"])
    assert done.exit_code in (0, 1), done.output
    return out


def test_exit_codes_follow_the_limits(run, tmp_path):
    gate = tmp_path / "gate.yaml"
    for limits, strict, code in (
        ("{}", False, 0),
        ("{controllability.fairness/accuracy_gap: {max: 0.99}}", False, 0),
        ("{'controllability.fairness/accuracy[group=*]': {max: 0.5}}", False, 1),
        ("{controllability.fairness/accuracy_gap: {max: 0.03}}", True, 3),
    ):
        gate.write_text(f"limits: {limits}\ndefaults: ignore\nstrict: {str(strict).lower()}\n")
        done = muroan("report", str(run), "--gate", str(gate))
        assert done.exit_code == code, (limits, done.output)
    document = json.loads((run / "findings.json").read_text())
    assert document["summary"]["exit_code"] == 3
    assert "gate is strict" in document["summary"]["why"]


def test_a_run_directory_is_gone_on_with(run):
    done = muroan("audit", str(run))
    assert done.exit_code in (0, 1), done.output
    assert "report.html" in done.output


def test_an_audit_file_says_the_same(tmp_path):
    (tmp_path / "audit.yaml").write_text(
        f"model: {MODEL}\ndata: {DATA}\nprobes: {{controllability.fairness: {{fewest: 20}}}}\n"
        f"gate: {{limits: {{controllability.fairness/accuracy_gap: 0.9}}}}\nlimit: 100\nout: {tmp_path / 'run'}\n"
    )
    done = muroan("audit", str(tmp_path / "audit.yaml"), "-q")
    assert done.exit_code in (0, 1), done.output
    plan = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert plan["probes"] == {"controllability.fairness": {"limit": None, "fewest": 20}}
    assert plan["limit"] == 100


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("audit", "nowhere"), "neither an audit.yaml nor a run directory"),
        (("audit", MODEL, DATA, "--probe", "controllability.fairnes"), "Did you mean 'controllability.fairness'"),
        (("audit", MODEL, DATA, "--probe", "controllability.fairness:fewest"), "is not of the form setting=value"),
        (("audit", "easy-vqua", DATA), "Did you mean 'easy-vqa'"),
        (("audit", MODEL, DATA, "--gate", "none.yaml"), "none.yaml cannot be read"),
        (("audit", MODEL, DATA, "--engine", "ray", *PROBE), "unknown engine 'ray'"),
        (("report", "nowhere"), "is not a run directory"),
        (("explain", "nowhere", "x"), "is not a run directory"),
        (("diff", "nowhere", "nowhere"), "has no findings.json"),
        (("list", "probs"), "Did you mean 'probes'"),
    ],
)
def test_what_is_asked_wrongly_ends_with_2_and_one_clear_line(words, message, tmp_path):
    extra = ("--out", str(tmp_path / "run")) if words[0] == "audit" and len(words) > 2 else ()
    done = muroan(*words, *extra)
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.output.split())
    assert "Traceback" not in done.output


def test_dry_run_says_what_it_would_take_and_leaves_nothing(tmp_path):
    done = muroan("audit", MODEL, DATA, *PROBE, "--dry-run", "--out", str(tmp_path / "run"))
    assert done.exit_code == 0, done.output
    assert "robustness.missing_modality" in done.output
    assert "fuse" in done.output
    assert not (tmp_path / "run").exists()


def test_list_shows_every_kind_and_speaks_json():
    done = muroan("list")
    for name in ("controllability.fairness", "shapley", "easy-vqa"):
        assert name in done.output
    found = json.loads(muroan("list", "probes", "--json").output)
    assert {"name", "question", "needs", "metrics", "source", "place", "splits"} <= found["probes"][0].keys()


def test_explain_tells_the_story_of_one_sample(run):
    sample = "audited-0"
    done = muroan("explain", str(run), sample)
    assert done.exit_code == 0, done.output
    for words in ("predicted", "image adds", "text adds", "What spoke for the decision", "robustness.missing_modality"):
        assert words in done.output
    story = json.loads(muroan("explain", str(run), sample, "--json").output)
    assert set(story["modalities"]) == {"image", "text", "table"}
    assert muroan("explain", str(run), "audited-0x").exit_code == 2


def test_diff_finds_what_got_worse_and_nothing_where_nothing_changed(run, tmp_path):
    same = muroan("diff", str(run), str(run))
    assert same.exit_code == 0, same.output
    assert "0 worse" in same.output
    worse = tmp_path / "worse"
    muroan("audit", "torch:tests.auditing.worlds:noisy", DATA, *PROBE, "--out", str(worse), "-q")
    done = muroan("diff", str(run), str(worse))
    assert done.exit_code == 1, done.output
    assert muroan("diff", str(worse), str(run)).exit_code == 0
    document = json.loads(muroan("diff", str(run), str(worse), "--json").output)
    change = document["changes"][0]
    assert (change["outcome"], change["verdict"]) == ("correct", "worse")
    assert change["difference"]["high"] < 0


def test_help_starts_at_once_and_imports_nothing_heavy():
    """DESIGN: heavy imports are deferred; measured are modules and CPU seconds, with room for a busy machine."""
    code = (
        "import sys\nsys.argv = ['muroan', '--help']\n"
        "from muroan.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'numpy', 'scipy', 'sklearn', 'polars', 'jinja2', 'pydantic'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "Where is this multimodal model unsafe" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_version():
    assert muroan("--version").output.startswith("muroan ")


def test_text_from_data_is_no_terminal_control(tmp_path):
    done = muroan("audit", "easy\x1b[31mvqa", DATA, "--out", str(tmp_path / "run"))
    assert done.exit_code == 2
    assert "\x1b[31m" not in done.output
