"""The promises of a probe (docs/design.md, "Contracts")."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from muroan.auditing.observe import observe_all
from muroan.checks.bed import PlantedModel, model_for, planted
from muroan.dataset import OWN_SPLITS, Dataset, Splits
from muroan.errors import NotApplicable
from muroan.evidence import AUDITED, Evidence
from muroan.finding import Conclusion
from muroan.modality import Value
from muroan.model import Model
from muroan.probe import Probe
from muroan.registry import PILLARS


def _observed(probe: Probe, model: Model | None = None, splits: Splits | None = None, **options: Any) -> Evidence:
    probe = _ready(probe)
    model, splits = model or model_for(probe.needs), splits or _data(probe)
    reason = probe.applies(model, splits.audited.schema)
    missing = probe.needs - model.capabilities
    if reason or missing:
        raise NotApplicable(reason or f"needs {sorted(missing)}")
    return observe_all([probe], model, splits, **options)[0][probe.name]


def _data(probe: Probe) -> Splits:
    """The planted world, with what the probe asks for by a name of its own."""
    return planted(named=tuple(s for s in probe.splits if s not in OWN_SPLITS))


def _ready(probe: Probe) -> Probe:
    """The probe with a surrogate where it asks for one."""
    if getattr(probe, "surrogate", None) == "":
        return replace(probe, surrogate="torch:muroan.checks.bed:surrogate")  # type: ignore[call-arg]
    return probe


def _small(probe: Probe) -> Probe:
    return replace(probe, limit=96) if probe.limit is None or probe.limit > 96 else probe


def says_what_it_is(probe: Probe) -> None:
    """Name, question, place, source and metrics are there for a reader."""
    assert re.fullmatch(r"[a-z]+\.[a-z0-9_]+", probe.name), f"name {probe.name!r} is not of the form pillar.method"
    assert probe.pillar in PILLARS, f"place {probe.place!r} is in none of the pillars {PILLARS}"
    assert probe.question.endswith("?"), "question does not end with a question mark"
    assert probe.source, "no source is given"
    assert (type(probe).__doc__ or "").strip(), "the class has no documentation"
    assert probe.metrics, "no metric is promised"
    names = [m.name for m in probe.metrics]
    assert len(set(names)) == len(names), "two metrics have the same name"
    for m in probe.metrics:
        assert len(m.says) >= 20, f"metric {m.name} does not say what its values mean"
    assert any(m.limit is not None for m in probe.metrics), "no metric has a default limit: the probe can never alarm"


def settings_survive_json(probe: Probe) -> None:
    """Settings written to a plan and read back give an equal probe."""
    from muroan.auditing.result import jsonable

    again = type(probe).configured(json.loads(json.dumps(jsonable(probe.settings()))))
    assert again == probe, f"{again} is not {probe}"


def one_row_a_sample_and_condition(probe: Probe) -> None:
    """No row twice, every sample there, every row with its split."""
    probe = _small(probe)
    evidence = _observed(probe)
    rows = evidence.rows
    keys = rows.select("split", "sample", "condition")
    assert keys.is_duplicated().sum() == 0, "a sample has two rows of one condition"
    assert keys.null_count().sum_horizontal().item() == 0, "sample, split or condition is missing in a row"
    for split, data in _data(probe).items():
        if split in probe.splits:
            seen = evidence.of(split)["sample"].n_unique()
            wanted = min(len(data), probe.limit or len(data))
            assert seen == wanted, f"{seen} of {wanted} samples of {split} have a row"


def shards_do_not_matter(probe: Probe) -> None:
    """The number and the order of shards leave findings as they are."""
    probe = _small(probe)
    base = probe.conclude(_observed(probe))
    _same(base, probe.conclude(_observed(probe, shard=7)), "shards of 7")
    splits = _data(probe)
    turned = splits.having({n: d.subset(range(len(d) - 1, -1, -1)) for n, d in splits.items()})
    _same(base, probe.conclude(_observed(probe, splits=turned)), "samples in reverse order")


def taking_apart_does_not_matter(probe: Probe) -> None:
    """Through encode and fuse, or through whole-model calls: the same findings."""
    probe = _small(probe)
    try:
        whole = _observed(probe, apart=False)
    except NotApplicable:
        return
    _same(probe.conclude(_observed(probe)), probe.conclude(whole), "whole-model calls")


def _same(a: Conclusion, b: Conclusion, how: str) -> None:
    first, second = {f.key: f for f in a.findings}, {f.key: f for f in b.findings}
    assert first.keys() == second.keys(), f"{how}: other findings: {set(first) ^ set(second)}"
    for key, f in first.items():
        x, y = f.estimate, second[key].estimate
        assert (x is None) == (y is None), f"{how}: {key} has an estimate only once"
        if x is not None and y is not None:
            assert x.n == y.n, f"{how}: {key} has n={y.n}, not {x.n}"
            for part in ("value", "low", "high"):
                p, q = getattr(x, part), getattr(y, part)
                assert p == q or math.isclose(p, q, rel_tol=1e-4, abs_tol=1e-4), f"{how}: {key}.{part} is {q}, not {p}"


def findings_are_whole(probe: Probe) -> None:
    """Every finding is of a promised metric and has an estimate with n, and an interval around its value."""
    evidence = _observed(_small(probe))
    conclusion = probe.conclude(evidence)
    promised = {m.name for m in probe.metrics}
    assert conclusion.findings, "nothing was concluded"
    assert any(f.judged for f in conclusion.findings), "no finding is judged"
    keys = [f.key for f in conclusion.findings]
    assert len(set(keys)) == len(keys), (
        f"two findings have the same key: {sorted({k for k in keys if keys.count(k) > 1})}"
    )
    for f in conclusion.findings:
        assert f.probe == probe.name, f"{f.key} is in the name of another probe"
        assert f.metric in promised, f"{f.metric} was not promised"
        assert f.estimate is not None or f.reason, f"{f.key} has neither an estimate nor a reason"
        if f.estimate is not None:
            e = f.estimate
            assert e.low <= e.value <= e.high, f"{f.key}: {e.value} is not in [{e.low}, {e.high}]"
            assert e.n > 0, f"{f.key} has no n"
    assert probe.conclude(evidence) == conclusion, "concluding twice gives two conclusions"


def outcomes_are_columns(probe: Probe) -> None:
    """What `muroan diff` is to compare is in the rows."""
    columns = _observed(_small(probe)).rows.columns
    for name in probe.outcomes:
        assert name in columns, f"outcome {name!r} is no column of the evidence: {columns}"


def _stumbling(model: PlantedModel, word: str) -> PlantedModel:
    """A model that raises on one sentence, whatever else is in the batch."""
    embed = model.embed

    def stumbles(modality: str, values: Any) -> Any:
        if any(word in v for v in values):
            raise RuntimeError("this sentence is too much")
        return embed(modality, values)

    model.embed = stumbles  # type: ignore[method-assign]
    return model


def one_bad_sample_is_quarantined(probe: Probe) -> None:
    """A model that raises on one sample loses that sample, with its reason, and nothing else."""
    probe = replace(_ready(probe), limit=32)
    audited = planted().audited
    bad = _Renamed(audited, "stumble")
    splits = replace(_data(probe), audited=bad)
    model = _stumbling(model_for(probe.needs), "stumble")
    if probe.needs - model.capabilities or probe.applies(model, bad.schema):
        return
    evidence, quarantined = observe_all([replace(probe, limit=None)], model, splits)
    lost = {q.sample for q in quarantined if q.sample in set(bad.ids)}
    assert lost == {bad.ids[3]}, f"quarantined: {lost}, expected {bad.ids[3]}"
    assert all("too much" in q.reason for q in quarantined), f"reasons: {[q.reason for q in quarantined]}"
    assert evidence[probe.name].of(AUDITED)["sample"].n_unique() == len(bad) - 1, "other samples were lost with it"


class _Renamed(Dataset):
    """The first samples of the bed, the fourth with a word that the model stumbles over."""

    def __init__(self, source: Dataset, word: str, n: int = 24) -> None:
        self.name, self.schema, self._source, self._word = source.name, source.schema, source, word
        self.ids = list(source.ids[:n])

    def sample(self, i: int) -> Any:
        found = self._source.sample(i)
        if i != 3:
            return found
        inputs: Mapping[str, Value] = {**found.inputs, "text": f"{found.inputs['text']} {self._word}"}
        return replace(found, inputs=inputs)


def finds_what_there_is(probe: Probe) -> None:
    """A probe that judges names a fault that it finds; each is planted somewhere, each named metric has a limit."""
    from muroan.registry import methods

    limited = {m.name for m in probe.metrics if m.limit is not None}
    assert probe.finds or not limited, "it has default limits but names no planted fault that breaks them (`finds`)"
    planted = methods("organisms")
    for fault, metrics in probe.finds.items():
        assert fault in planted, f"finds {fault!r}, which is no registered organism"
        assert metrics, f"names no metric for {fault!r}"
        assert set(metrics) <= limited, f"{sorted(set(metrics) - limited)} have no default limit that could break"
