"""Self tests that are carried out, stopped, killed and gone on with, in real processes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from muroan import registry
from muroan.errors import AskedWrongly
from muroan.selftest import examine, identity
from muroan.selftest.plan import FULL, QUICK, asks
from muroan.selftest.run import TRIALS, read

PROBE, FAULT = "monitoring.calibration", "monitoring.overconfident"


def told(path):
    return [json.loads(line) for line in (path / TRIALS).read_text().splitlines() if line]


def planned(extent, probe=PROBE, fault=FAULT):
    return list(asks([registry.probe(probe)()], [registry.organism(fault)], extent))


def still_running(group: int) -> list[str]:
    """Processes of a process group that are left."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state != "Z":
                found.append(stat.parent.name)
    return found


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("selftest")
    return out, examine([PROBE], [FAULT], out=out, seeds=2, workers=1, show_progress=False)


def test_every_dose_and_the_twin_are_tried_once_a_seed(done):
    out, result = done
    fault = registry.organism(FAULT)
    assert sorted((r["world"], r["dose"], r["seed"]) for r in told(out)) == sorted(
        [(FAULT, d, s) for d in fault.doses for s in (0, 1)] + [("clinic", 0.0, s) for s in (0, 1)]
    )
    (pair,) = result.pairs
    assert pair.curve[-1].power.value == 1.0
    assert pair.twins.value == 0.0


def test_given_again_it_does_nothing_twice_and_says_the_same(done):
    out, result = done
    before = told(out)
    again = examine([PROBE], [FAULT], out=out, seeds=2, workers=1, show_progress=False)
    assert told(out) == before
    assert again == result


def test_what_a_kill_cut_off_and_what_other_code_said_is_tried_again(done, tmp_path):
    out, _ = done
    lines = [line for line in (out / TRIALS).read_text().splitlines() if line]
    old = json.dumps({**json.loads(lines[1]), "code": "another"})
    (tmp_path / TRIALS).write_text("\n".join([lines[0], old, *lines[2:-1], lines[-1][: len(lines[-1]) // 2]]))
    kept = read(tmp_path / TRIALS)
    assert len(kept) == len(lines) - 2
    examine([PROBE], [FAULT], out=tmp_path, seeds=2, workers=1, show_progress=False)
    assert {key: r.heard for key, r in read(tmp_path / TRIALS).items()} == {
        key: r.heard for key, r in read(out / TRIALS).items()
    }


def test_a_killed_self_test_goes_on_where_it_was(done, tmp_path):
    out, result = done
    command = [sys.executable, "-c", "from muroan.cli import main; main()", "selftest", "--probe", PROBE]
    command += ["--fault", FAULT, "--seeds", "2", "--workers", "1", "--out", str(tmp_path), "--quiet"]
    process = subprocess.Popen(command, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    trials = tmp_path / TRIALS
    for _ in range(600):
        if trials.exists() and trials.stat().st_size:
            break
        time.sleep(0.1)
    process.kill()
    process.wait()
    for _ in range(100):  # its workers notice and end too
        if not still_running(process.pid):
            break
        time.sleep(0.1)
    assert still_running(process.pid) == []
    kept = len(told(tmp_path))
    assert 0 < kept <= len(told(out))
    assert examine([PROBE], [FAULT], out=tmp_path, seeds=2, workers=1, show_progress=False) == result.model_copy(
        update={"seconds": pytest.approx(result.seconds, abs=1e9)}
    )
    assert len(told(tmp_path)) == len(told(out))


def test_quick_tries_only_the_dose_that_matters():
    doses = {a.dose for a in planned(QUICK)}
    assert doses == {0.0, registry.organism(FAULT).matters}
    assert {a.dose for a in planned(FULL)} == {0.0, *registry.organism(FAULT).doses}


def test_a_probe_is_asked_about_every_fault_for_specificity():
    """Not only about those that it should find: one fault shown by five probes is one fault."""
    probes = [registry.probe(PROBE)(), registry.probe("controllability.fairness")()]
    fault = registry.organism(FAULT)
    at = [a for a in asks(probes, [fault], FULL) if a.dose == fault.matters]
    assert [len(a.probes) for a in at] == [2] * FULL.specificity + [1] * (FULL.power - FULL.specificity)


def test_code_is_known_by_what_it_says(tmp_path, monkeypatch):
    (tmp_path / "one").mkdir()
    source = tmp_path / "one" / "probe.py"
    source.write_text("a = 1")
    monkeypatch.setattr(identity, "_source", lambda part: source)
    digests = []
    for text in ("a = 1", "a = 2", "a = 1"):
        source.write_text(text)
        identity.code_of.cache_clear()
        digests.append(identity.code_of(registry.probe(PROBE), registry.organism(FAULT)))
    identity.code_of.cache_clear()
    assert digests[0] == digests[2] != digests[1]


def test_a_trial_depends_on_the_definitions_of_its_fault_and_bed_and_not_on_the_faults_beside_it():
    fault = registry.organism(FAULT)
    made = {name for _, name in identity.made_of(fault)}
    assert {"Overconfident", "CLINIC", "world", "patients", "draw_scan", "Clinician", "plant"} <= made
    assert not {"Underconfident", "usual_odds", "best_accuracy"} & made
    twin = identity.made_of(fault.bed)
    assert {"CLINIC", "Clinician", "draw_scan"} <= {name for _, name in twin} < made
    shared = registry.organism("robustness.shattered-gradients")
    assert {"HidesFinePatterns", "SeesFinePatterns", "fine_signs", "Misled"} <= {n for _, n in identity.made_of(shared)}


def test_names_that_do_not_exist_are_refused_with_the_nearest(tmp_path):
    with pytest.raises(AskedWrongly, match="overconfident"):
        examine([PROBE], ["monitoring.overconfidentt"], out=tmp_path)
    with pytest.raises(AskedWrongly, match="calibration"):
        examine(["monitoring.calibratio"], out=tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(AskedWrongly, match="is a file"):
        examine([PROBE], [FAULT], out=tmp_path / "file")


def test_every_shipped_fault_is_meant_for_some_probe_or_known_to_be_without_one():
    found = {f for p in registry.methods("probes").values() for f in p.finds}
    orphans = {n for n, o in registry.methods("organisms").items() if o.__module__.startswith("muroan.")} - found
    assert orphans <= {"robustness.cross-modal-backdoor", "robustness.spurious-background", "monitoring.foreign-inputs"}
