"""What a probe fits beforehand: on the reference alone, once a run, equal after a kill, its price in the bill."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from muroan import Splits
from muroan.auditing.observe import observe_all
from muroan.auditing.plan import prepare as planned
from muroan.auditing.run import observe_plan
from muroan.auditing.trial import trial
from muroan.checks import PlantedModel, planted
from muroan.errors import NotApplicable
from muroan.estimate import mean
from muroan.evidence import AUDITED
from muroan.finding import Conclusion, Finding, Metric
from muroan.probe import Observation, Probe


@dataclass(frozen=True, kw_only=True)
class Threshold(Probe):
    """How much surer is the model here than on the reference?"""

    name = "monitoring.threshold_of_a_test"
    question = "Is it surer than on the reference?"
    place = "monitoring/reliability"
    source = "a test"
    metrics = (Metric(name="surer", says="Share surer than the reference's mean."),)
    limit: int | None = 60

    def prepare(self, model, reference, seed):
        batch = reference.load(range(40)).batch
        return float(model.of(batch).softmax(dim=1).amax(dim=1).mean()) + seed

    def observe(self, clean):
        above = clean.probabilities.amax(dim=1) > clean.prepared[self.name]
        return Observation(clean.rows("clean", above=above, threshold=[clean.prepared[self.name]] * len(clean)))

    def conclude(self, evidence):
        found = mean(evidence.of(AUDITED)["above"].cast(float), bounds=(0, 1))
        return Conclusion(findings=[Finding(probe=self.name, metric="surer", title="Surer", estimate=found)])


@dataclass(frozen=True, kw_only=True)
class Stumbles(Threshold):
    def prepare(self, model, reference, seed):
        raise RuntimeError("out of ink")


def plan(**more):
    return planned(PlantedModel(), planted(), probes=[Threshold()], shard=16, **more)


def test_it_is_fitted_on_the_reference_once_and_billed(tmp_path):
    run = observe_plan(plan(), tmp_path / "run", show_progress=False)
    rows = run.evidence(Threshold.name)
    assert rows["threshold"].n_unique() == 1
    (record,) = run.records(Threshold.name, ["prepared"])
    assert record["counts"]["fuse"] == 40
    cost = trial(plan())
    assert dict(cost[0].counts)["fuse"] == 40, "once, however many samples are observed"
    evidence, _ = observe_all([Threshold()], PlantedModel(), planted())
    assert evidence[Threshold.name].rows["threshold"].unique().to_list() == rows["threshold"].unique().to_list()


def test_a_run_that_goes_on_fits_the_same_again(tmp_path):
    whole = observe_plan(plan(), tmp_path / "whole", show_progress=False).evidence(Threshold.name)
    cut = observe_plan(plan(), tmp_path / "cut", show_progress=False)
    shards = sorted((tmp_path / "cut" / "evidence" / Threshold.name).glob("audited-*.parquet"))
    for path in shards[1:]:
        path.unlink()
    again = observe_plan(plan(), tmp_path / "cut", show_progress=False).evidence(Threshold.name)
    assert again.sort("sample").equals(whole.sort("sample"))
    assert len(cut.records(Threshold.name, ["prepared"])) == 1


def test_without_a_reference_it_does_not_apply():
    alone = Splits(planted().audited)
    with pytest.raises(NotApplicable, match="reference"):
        observe_all([Threshold()], PlantedModel(), alone)
    assert planned(PlantedModel(), alone, probes=[Threshold()]).data.reference is not None, "one is split off"


def test_a_probe_that_cannot_prepare_is_not_completed(tmp_path):
    asked = replace(plan(), probes=(Stumbles(),))
    run = observe_plan(asked, tmp_path / "run", show_progress=False)
    assert all("out of ink" in r["stopped"] for r in run.records(Stumbles.name, [s.name for s in asked.shards]))
    assert "out of ink" in trial(asked)[0].reason
