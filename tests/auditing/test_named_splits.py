"""Splits of other names than audited, reference and members: asked for by name, from words to evidence."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import polars as pl
import pytest
from typer.testing import CliRunner

from muroan import Splits, audit
from muroan.auditing.plan import why_not
from muroan.auditing.request import request
from muroan.checks import PlantedModel, of, planted
from muroan.clean import Clean
from muroan.cli.app import app
from muroan.errors import AskedWrongly
from muroan.evidence import Evidence
from muroan.figure import Figure, share
from muroan.finding import Conclusion
from muroan.probe import Observation, Probe
from muroan.rows import Rows
from muroan.say import Say


@dataclass(frozen=True, kw_only=True)
class Forgotten(Probe):
    """Is what was withdrawn answered as well as what was kept?"""

    name = "tests.forgotten"
    question = "Is what was withdrawn answered as well as what was kept?"
    place = "controllability/privacy"
    splits = ("audited", "forget")
    figures = (Figure("accuracy", "Right answers", share("correct"), says="Share of right answers. 0: none; 1: all."),)

    def observe(self, clean: Clean) -> Observation:
        return Observation(clean.rows("clean", correct=clean.correct))

    def conclude(self, evidence: Evidence) -> Conclusion:
        say = Say(self.name)
        for split in self.splits:
            say.detail("accuracy", split, Rows.of(evidence, "clean", split=split).share("correct"), condition=split)
        return Conclusion(findings=say.findings)


@pytest.fixture(scope="module")
def world() -> Splits:
    whole = planted(240)
    forget = whole.members.subset(range(40), "withdrawn")
    kept = whole.members.subset(range(40, len(whole.members)), "kept")
    return replace(whole, members=kept, named={"forget": forget})


def test_a_probe_asks_for_a_split_by_its_name_and_a_run_goes_on_with_it(world, tmp_path):
    probe, out = Forgotten(), tmp_path / "run"
    done = audit(PlantedModel(), world, probes=[probe], out=out, shard=16, show_progress=False)
    rows = done.evidence(probe.name)
    assert rows.filter(pl.col("split") == "forget")["sample"].n_unique() == 40
    assert {f.condition: f.estimate.n for f in done.findings} == {"audited": 240, "forget": 40}
    for file in sorted((out / "evidence" / probe.name).glob("forget-*")):
        file.unlink()
    again = audit(PlantedModel(), world, probes=[probe], out=out, shard=16, show_progress=False)
    assert again.findings == done.findings


@pytest.mark.parametrize("check", of(Forgotten()), ids=str)
def test_a_probe_that_names_splits_keeps_the_promises_of_probes(check):
    if check.name in ("says_what_it_is", "findings_are_whole"):
        pytest.skip("it judges nothing, and has no page of its own")
    check()


def test_a_split_that_is_not_there_is_named_with_the_way_to_name_it(world):
    why = why_not(Forgotten(), PlantedModel(), Splits(world.audited))
    assert why == "needs the split 'forget' (--split forget=DATA)"


def test_a_sample_stands_in_one_split(world):
    overlapping = replace(world, named={"forget": world.audited})
    with pytest.raises(AskedWrongly, match="is both audited and forget"):
        overlapping.check()


@pytest.mark.parametrize("name", ["members", "../forget", "For get", "", "a_b"])
def test_names_are_words_and_never_paths(world, name):
    with pytest.raises(AskedWrongly, match="no name of a split"):
        replace(world, named={name: world.reference})


def test_words_name_splits_as_python_does(tmp_path):
    asked = request("easy-vqa", "easy-vqa", splits=["forget=a.csv", "client-3=b.csv"], out=tmp_path)
    assert asked.arguments["named"] == {"forget": "a.csv", "client-3": "b.csv"}
    with pytest.raises(AskedWrongly, match="'forget' is not NAME=DATA"):
        request("easy-vqa", "easy-vqa", splits=["forget"], out=tmp_path)


def test_a_table_names_its_splits_and_the_run_says_which_it_had(tmp_path):
    lines = ["text,label,part"]
    for k in range(60):
        part = ("audited", "reference", "withdrawn")[k % 3]
        lines.append(f"{'warm' if k % 2 else 'cold'} day {k},{'yes' if k % 2 else 'no'},{part}")
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    (tmp_path / "cases.yaml").write_text(
        "inputs: {text: {kind: text, column: text}}\ntarget: label\n"
        "split: {column: part, audited: audited, reference: reference, named: {forget: withdrawn}}\n"
    )
    (tmp_path / "words.py").write_text(
        "import torch, muroan\n"
        "def make():\n"
        "    says = lambda inputs: torch.tensor([[0.2, 0.8] if 'warm' in t else [0.8, 0.2] for t in inputs['text']])\n"
        "    return muroan.BlackBox(says, modalities=['text'], classes=['no', 'yes'], output='probabilities')\n"
    )
    import os

    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        words = ["audit", "torch:words:make", "cases.csv", "--probe", "monitoring.calibration", "--out", "run", "-q"]
        done = CliRunner().invoke(app, words)
    finally:
        os.chdir(before)
    assert done.exit_code in (0, 1), done.output
    document = json.loads((tmp_path / "run" / "findings.json").read_text())
    assert document["data"]["sizes"] == {"audited": 20, "reference": 20, "forget": 20}
