"""An audit end to end on a small world: documents, resume, quarantine, verdicts, errors that name what is wrong."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import polars as pl
import pytest
import torch

from muroan import Splits
from muroan.api import audit, draw_again
from muroan.auditing import result as documents
from muroan.auditing import store
from muroan.auditing.store import Run
from muroan.checks import PlantedModel, planted
from muroan.data.memory import InMemory
from muroan.errors import AskedWrongly, CannotComplete
from muroan.finding import Verdict
from tests.auditing.worlds import PROBES, Stumbling, data, model


def go(out: Path, **options):
    return audit(
        options.pop("model", model()),
        options.pop("data", data()),
        probes=options.pop("probes", PROBES),
        out=out,
        show_progress=False,
        **options,
    )


def essence(run) -> str:
    """The findings document without what names the occasion."""
    document = json.loads(run.result.to_json())
    for key in ("created", "command", "plan"):
        document.pop(key)
    for probe in document["probes"]:
        probe.pop("cost")
    return json.dumps(document, sort_keys=True)


def test_an_audit_leaves_every_document_and_they_agree(tmp_path):
    run = go(tmp_path / "run")
    assert {p.name for p in run.path.iterdir()} >= {
        "audit.json",
        "evidence",
        "findings.json",
        "findings.sarif",
        "junit.xml",
        "report.html",
    }
    document = documents.read((run.path / "findings.json").read_bytes())
    assert document == run.result
    assert [p.name for p in document.probes] == list(PROBES)
    assert all(p.status == "completed" for p in document.probes)
    assert run.findings
    assert run.evidence("samples").height == 240


def test_a_finished_audit_asked_again_observes_nothing_and_concludes_the_same(tmp_path):
    first = go(tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in (first.path / "evidence").rglob("*.parquet")}
    again = go(tmp_path / "run")
    assert {p: p.stat().st_mtime_ns for p in (first.path / "evidence").rglob("*.parquet")} == before
    assert essence(first) == essence(again)


def test_conclusions_need_neither_model_nor_data(tmp_path):
    first = go(tmp_path / "run")
    assert essence(draw_again(Run(first.path))) == essence(first)


def test_size_of_shards_does_not_change_findings(tmp_path):
    a, b = go(tmp_path / "a"), go(tmp_path / "b", shard=17)
    for x, y in zip(a.findings, b.findings, strict=True):
        assert x.key == y.key
        assert x.estimate.value == pytest.approx(y.estimate.value, abs=1e-6)


def test_a_lost_shard_is_observed_again_and_only_that(tmp_path):
    first = go(tmp_path / "run", shard=40)
    whole = essence(first)
    lost = first.path / "evidence" / PROBES[0] / "audited-00002.parquet"
    lost.unlink()
    untouched = {p: p.stat().st_mtime_ns for p in (first.path / "evidence").rglob("*.parquet")}
    again = go(tmp_path / "run", shard=40)
    assert lost.exists()
    assert {p: p.stat().st_mtime_ns for p in untouched} == untouched
    assert essence(again) == whole


def test_limit_takes_the_same_random_subset_whatever_the_shards(tmp_path):
    a = go(tmp_path / "a", limit=50).evidence("samples")["sample"].to_list()
    b = go(tmp_path / "b", limit=50, shard=7).evidence("samples")["sample"].to_list()
    assert len(a) == 50
    assert sorted(a) == sorted(b)
    assert sorted(a) != sorted(data().audited.ids[:50])


@pytest.mark.parametrize(("how", "words"), [("raise", "out of ink"), ("nan", "NaN or infinite")])
def test_a_sample_that_breaks_the_model_is_quarantined_with_its_reason(tmp_path, how, words):
    text = planted(240).audited.sample(5).inputs["text"]
    victims = {planted(240).audited.ids[i] for i in range(240) if planted(240).audited.sample(i).inputs["text"] == text}
    run = go(tmp_path / "run", model=Stumbling(how, once=text))
    rows = run.result.quarantine
    assert {r.sample for r in rows} == victims
    assert all(r.stage == "clean pass" and words in r.reason for r in rows)
    assert run.evidence("samples").height == 240 - len(victims)
    assert all(p.status == "completed" for p in run.result.probes)
    assert words in (run.path / "report.html").read_text()


def test_a_model_with_the_wrong_shape_stops_the_audit_and_says_so(tmp_path):
    with pytest.raises(CannotComplete, match=r"scores of shape \(240, 1\) for 240 samples and 2 classes"):
        go(tmp_path / "run", model=Stumbling("shape"))


def test_a_model_that_always_fails_stops_the_audit_after_a_few_samples(tmp_path):
    class Broken(type(model())):
        calls = 0

        def embed(self, modality, values):
            type(self).calls += 1
            raise RuntimeError("no tokenizer")

    with pytest.raises(CannotComplete, match="failed on all 240 samples of audited-00000: RuntimeError: no tokenizer"):
        go(tmp_path / "run", model=Broken())
    assert Broken.calls < 40


def test_bad_labels_and_values_are_quarantined_and_the_rest_stands(tmp_path):
    source = planted(60).audited
    table = source._inputs["table"].copy()
    table[7, 0] = float("nan")
    texts = list(source._inputs["text"])
    texts[9] = "  "
    targets = [int(t) for t in source._targets]
    targets[11] = 5
    faulty = InMemory(
        {"image": source._inputs["image"], "text": texts, "table": table},
        targets=targets,
        modalities=source.schema.modalities,
        classes=source.schema.classes,
        groups=source._groups,
        clusters=source._clusters,
        ids=source.ids,
    )
    run = go(tmp_path / "run", data=Splits(faulty))
    reasons = {r.sample: r.reason for r in run.result.quarantine}
    assert reasons == {
        source.ids[7]: "table: table row has 1 values that are NaN or infinite",
        source.ids[9]: "text: text is empty",
        source.ids[11]: "label 5 is not among the 2 classes",
    }
    assert run.evidence("samples").height == 57


def test_a_probe_that_cannot_conclude_leaves_the_others_their_conclusions(tmp_path):
    from dataclasses import dataclass

    from muroan.controllability.fairness.group_gaps import GroupGaps

    @dataclass(frozen=True, kw_only=True)
    class Confused(GroupGaps):
        """Cannot make up its mind."""

        name = "controllability.confused"

        def conclude(self, evidence):
            raise ZeroDivisionError("nothing to divide by")

    run = go(tmp_path / "run", probes=[Confused(), "robustness.missing_modality"])
    status = {p.name: (p.status, p.reason) for p in run.result.probes}
    assert status["controllability.confused"] == (
        "not completed",
        "could not conclude: ZeroDivisionError: nothing to divide by",
    )
    assert status["robustness.missing_modality"][0] == "completed"
    assert "ZeroDivisionError" in (run.path / "errors" / "controllability.confused.txt").read_text()
    assert run.exit_code in (1, 4)


def test_what_does_not_apply_says_why(tmp_path):
    bare = planted(60).audited
    run = go(tmp_path / "run", data=Splits(bare), probes=["controllability.membership"])
    probe = run.result.probes[0]
    assert probe.status == "not applicable"
    assert probe.reason == "needs a sample of the training data (--members)"
    assert run.exit_code == 0


def test_a_reference_is_split_off_where_a_probe_needs_one(tmp_path):
    run = go(tmp_path / "run", data=Splits(planted(240).audited), probes=["monitoring.calibration"])
    sizes = run.result.data.sizes
    assert sizes["audited"] + sizes["reference"] == 240
    rows = run.evidence("samples")
    shared = set(rows.filter(pl.col("split") == "audited")["cluster"]) & set(
        rows.filter(pl.col("split") == "reference")["cluster"]
    )
    assert not shared


# Errors that name what was wrong, where, and what to do


def test_a_directory_of_another_audit_is_refused_with_what_differs(tmp_path):
    go(tmp_path / "run")
    with pytest.raises(AskedWrongly, match=r"holds another audit \(seed: 0 there, 1 here\)"):
        go(tmp_path / "run", seed=1)
    assert documents.read((tmp_path / "run" / "findings.json").read_bytes()).seed == 0


def test_a_directory_of_another_version_is_refused(tmp_path):
    run = go(tmp_path / "run")
    plan = json.loads((run.path / "audit.json").read_text())
    (run.path / "audit.json").write_text(json.dumps({**plan, "muroan": "0.0.1"}))
    with pytest.raises(AskedWrongly, match=r"was begun by Muroan 0\.0\.1"):
        go(tmp_path / "run")


def test_a_directory_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("do not overwrite")
    with pytest.raises(AskedWrongly, match="is not empty and holds no audit"):
        go(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "do not overwrite"


def test_another_gate_judges_the_same_evidence_anew(tmp_path):
    strict = tmp_path / "gate.yaml"
    strict.write_text("limits:\n  controllability.fairness/accuracy_gap: {max: 0.9}\n")
    first = go(tmp_path / "run")
    files = {p: p.stat().st_mtime_ns for p in (first.path / "evidence").rglob("*.parquet")}
    again = go(tmp_path / "run", gate=strict)
    assert {p: p.stat().st_mtime_ns for p in files} == files
    found = next(f for f in again.findings if f.metric == "accuracy_gap" and f.judged)
    assert (found.limit.max, found.limit.source, found.verdict) == (0.9, "gate", Verdict.PASS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"probes": ["robustness.missing_modalty"]}, "Did you mean 'robustness.missing_modality'"),
        ({"probes": {"controllability.fairness": {"fewst": 3}}}, "has no setting 'fewst'. Did you mean 'fewest'"),
        ({"probes": ["controllability.fairness", "controllability.fairness"]}, "asked twice"),
        ({"probes": []}, "no probe was asked for"),
        ({"engine": "locl"}, "unknown engine 'locl'. Did you mean 'local'"),
        ({"limit": 0}, "leaves nothing to audit"),
        ({"model": object()}, "wrap it in muroan.TorchModel"),
        ({"model": "easy-vqua"}, "Did you mean 'easy-vqa'"),
        ({"data": "easy-vqua"}, "easy-vqa"),
        ({"model": "easy-vqa"}, "takes 'image'|takes 'question'"),
    ],
)
def test_what_is_asked_wrongly_is_refused_with_the_nearest_name(tmp_path, options, words):
    with pytest.raises(AskedWrongly, match=words):
        go(tmp_path / "run", **options)
    assert not (tmp_path / "run" / "evidence").exists()


def test_a_full_disk_is_said_and_the_audit_goes_on_afterwards(tmp_path, monkeypatch):
    real, left = os.replace, [9]

    def full(source, target):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(source, target)

    monkeypatch.setattr(store.os, "replace", full)
    with pytest.raises(CannotComplete, match=r"could not be written: the disk is full\. What was finished is kept"):
        go(tmp_path / "run", shard=40)
    monkeypatch.setattr(store.os, "replace", real)
    resumed = go(tmp_path / "run", shard=40)
    assert essence(resumed) == essence(go(tmp_path / "fresh", shard=40))
    assert not list(resumed.path.rglob(".*"))


def test_a_report_of_an_unfinished_run_is_refused(tmp_path):
    run = go(tmp_path / "run", shard=40)
    (run.path / "evidence" / "samples" / "audited-00001.parquet").unlink()
    with pytest.raises(CannotComplete, match="is not finished: 1 of 6 shards are missing"):
        draw_again(Run(run.path))


def test_no_socket_is_opened(tmp_path, monkeypatch):
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    go(tmp_path / "run")


def test_keys_of_the_environment_reach_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "canary-8c1f")
    run = go(tmp_path / "run")
    assert not [p for p in run.path.rglob("*") if p.is_file() and b"canary-8c1f" in p.read_bytes()]


class Drifting(PlantedModel):
    """What it answers depends on how much is asked at once, as it does in the last digit of any network."""

    name = "drifting"

    def decide(self, fused):
        return super().decide(fused) + torch.tensor([0.0, 1e-4 * len(fused)])


SHARING = {
    "controllability.attribution": {"limit": 12},
    "monitoring.calibration": {"limit": 20},
    "robustness.missing_modality": {},
}


@pytest.mark.parametrize("saved", range(5))
def test_a_shard_gone_on_with_finds_what_it_would_have_found(tmp_path, monkeypatch, saved):
    """Stopped between probes that ask the same of the model: those left hear the answers that the others were given."""
    audited = Splits(*(d for _, d in planted(40).items()))
    asked = {"model": Drifting(), "data": audited, "probes": SHARING, "shard": 32}
    whole = go(tmp_path / "whole", **asked)
    left, save = [saved], Run.save

    def stopping(self, *what):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        save(self, *what)

    monkeypatch.setattr(Run, "save", stopping)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "cut", **asked)
    monkeypatch.setattr(Run, "save", save)
    again = go(tmp_path / "cut", **asked)
    for name in (*SHARING, "samples"):
        assert again.evidence(name).equals(whole.evidence(name)), name
    assert essence(again) == essence(whole)
    assert not list(again.path.rglob("*.npz")), "answers are let go once no probe is left that could ask for them"
    counts = {p.name: p.cost.counts for p in whole.result.probes}
    assert counts["robustness.missing_modality"]["remembered fuse"] > 0


def test_what_one_probe_asked_the_model_is_not_asked_by_another(tmp_path):
    run = go(tmp_path / "run", probes=["monitoring.calibration", "robustness.missing_modality", "monitoring.conformal"])
    asked = {p.name: p.cost.counts.get("fuse", 0) for p in run.result.probes}
    assert asked["monitoring.calibration"] > 0
    assert asked["monitoring.conformal"] == 0
    last = next(p.cost.counts for p in run.result.probes if p.name == "robustness.missing_modality")
    assert last["remembered fuse"] >= asked["monitoring.calibration"] * 240 // (240 * 3)
