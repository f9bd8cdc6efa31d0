"""Hardening: what is saved is what was audited, held-out data stay held out, and the table says what improved."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from muroan import harden, open_model
from muroan.errors import AskedWrongly
from muroan.hardened import Folder
from muroan.hardening import choose
from tests import worlds

ROOT = Path(__file__).parent.parent
REF, DATA = "torch:tests.worlds:fragile", "python:tests.worlds:data"
WITH = ["adversarial_training:epochs=40,rate=0.03,steps=3,batch=32"]
PROBES = {"robustness.gradient": {"limit": 150}, "monitoring.calibration": {}}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("hardening") / "run"
    return harden(REF, DATA, WITH, probes=PROBES, out=out, show_progress=False)


def test_what_is_promised_improves_and_the_rest_is_said(done):
    improved = done.outcome.of("improved")
    joint = [r for r in improved if r.change.probe == "robustness.gradient" and r.promised]
    assert joint, done.outcome.why
    assert all(r.change.difference.high < 0 for r in joint), "success of the attack is better lower"
    assert done.exit_code == 0
    order = [r.verdict for r in done.outcome.rows]
    assert order == sorted(order, key=["improved", "cost", "undecided"].index)
    assert "improved" in done.outcome.why
    assert any("weights are kept" in n for n in done.outcome.notes)


def test_the_attacker_knows_the_defence_and_both_figures_are_there(done):
    (row,) = done.outcome.attacked
    assert row.condition == "image"
    assert row.gain.low > 0
    assert row.adaptive.value <= row.static.value
    assert row.adaptive.value <= row.random.value
    assert row.base.n == 150


def test_the_folder_is_a_model_reference_with_the_same_bits(done):
    again = open_model(str(done.path / "model"), worlds.data())
    batch = worlds.data().audited.load(range(50)).batch
    assert torch.equal(again.predict(batch.inputs), done.model.predict(batch.inputs))
    assert again.fingerprint() == done.model.fingerprint() != open_model(REF).fingerprint()
    audited = json.loads((done.path / "after" / "audit.json").read_text())
    assert audited["model"]["ref"] == str(done.path / "model")
    assert audited["model"]["fingerprint"] == again.fingerprint()


def test_given_again_it_trains_nothing_and_says_the_same(done):
    weights = done.path / "model" / "step-0.safetensors"
    written = weights.stat().st_mtime_ns
    again = harden(REF, DATA, WITH, probes=PROBES, out=done.path, show_progress=False)
    assert weights.stat().st_mtime_ns == written
    assert again.outcome == done.outcome
    with pytest.raises(AskedWrongly, match="another"):
        harden(REF, DATA, ["adversarial_training:epochs=1"], probes=PROBES, out=done.path, show_progress=False)


def test_a_changed_base_or_a_folder_that_is_not_whole_is_refused(done, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(done.path / "model", folder)
    other = worlds.fragile()
    with torch.no_grad():
        next(iter(other.trainable().parameters())).add_(0.1)
    with pytest.raises(AskedWrongly, match="made from another model"):
        Folder.read(folder).restore(other)
    (folder / "step-0.safetensors").unlink()
    with pytest.raises(AskedWrongly, match="not whole"):
        open_model(str(folder))


def test_python_objects_are_copied_and_stay_as_they_were(tmp_path):
    model = worlds.fragile()
    before = model.fingerprint()
    found = harden(
        model,
        worlds.data(),
        ["adversarial_training:epochs=1"],
        probes=["monitoring.calibration"],
        out=tmp_path / "run",
        show_progress=False,
    )
    assert model.fingerprint() == before != found.model.fingerprint()
    assert torch.equal(
        Folder.read(tmp_path / "run" / "model").restore(worlds.fragile()).predict(_inputs()),
        found.model.predict(_inputs()),
    )
    with pytest.raises(AskedWrongly, match="restore it from Python"):
        open_model(str(tmp_path / "run" / "model"))


def _inputs():
    return worlds.data().audited.load(range(20)).batch.inputs


def test_what_does_not_apply_is_refused_with_the_reason(tmp_path):
    from muroan import Splits

    splits = worlds.data()
    cases = [
        (worlds.fragile(), Splits(splits.audited, splits.reference), WITH, "--members"),
        (worlds.fragile(), splits, ["adversarial_trainin"], "adversarial_training"),
        (worlds.fragile(), splits, ["adversarial_training:stepps=3"], "steps"),
        (worlds.fragile(), splits, ["adversarial_training:radii=[[sound,0.1]]"], "sound"),
        (worlds.fragile(), splits, [], "no mitigation"),
    ]
    for model, data, asked, why in cases:
        with pytest.raises(AskedWrongly, match=why):
            harden(model, data, asked, probes=["monitoring.calibration"], out=tmp_path / "x", show_progress=False)
    assert not (tmp_path / "x").exists(), "nothing is begun that cannot be finished"


def test_names_and_settings_as_the_command_line_has_them():
    one, two, three = choose(
        ["adversarial_training, adversarial_training", "adversarial_training:radii=[[image,0.1],[table,0.2]],epochs=2"]
    )
    assert one == two
    assert three.radii == (("image", 0.1), ("table", 0.2))
    assert three.epochs == 2


def test_killed_and_given_again_it_ends_with_the_same_model(done, tmp_path):
    out = tmp_path / "run"
    words = [
        "muroan",
        "harden",
        REF,
        DATA,
        "--with",
        WITH[0],
        "--probe",
        "monitoring.calibration",
    ]
    words += ["--out", str(out), "--quiet"]
    code = f"import sys, torch; torch.set_num_threads(1); sys.argv = {words!r}; from muroan.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(out.rglob("training/*.safetensors")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(out.rglob("training/*.safetensors")), "it was not training yet"
    assert not (out / "model").exists(), "it was killed too late to show anything"
    again = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert open_model(str(out / "model")).fingerprint() == done.model.fingerprint()
