"""The story of one sample: what the model said, what every probe saw, and what spoke for the decision."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from muroan import registry
from muroan.auditing.store import Run
from muroan.clean import Clean
from muroan.errors import AskedWrongly, BadSample, MuroanError, nearest
from muroan.evidence import SAMPLES
from muroan.meter import Metered


class Part(BaseModel):
    """A part of an input and what it adds to the explained score. what: the word, or the box in points."""

    model_config = ConfigDict(frozen=True)
    modality: str
    what: str
    value: float


class Story(BaseModel):
    """One sample. inputs: modality -> words or a description; observations: probe -> its rows of this sample;
    modalities: modality -> its Shapley value on the explained score; parts: strongest first; reason: why there
    is no attribution, where there is none."""

    model_config = ConfigDict(frozen=True)
    sample: str
    split: str
    target: str
    predicted: str
    confidence: float | None
    groups: dict[str, str]
    inputs: dict[str, str] = {}
    observations: dict[str, list[dict[str, Any]]]
    modalities: dict[str, float] = {}
    parts: list[Part] = []
    reason: str = ""


def explain(run: Run, sample: str, *, parts: int = 10) -> Story:
    """Everything a run knows of a sample, and the explainers' view where model and data can be opened again."""
    plan = run.plan()
    rows = run.evidence(SAMPLES)
    found = rows.filter(pl.col("sample") == sample)
    if not len(found):
        for name in plan["shards"]:
            for q in run.quarantined(run.records(SAMPLES, [name])):
                if q.sample == sample:
                    raise AskedWrongly(f"sample {sample!r} was quarantined at {q.stage!r}: {q.reason}")
        raise AskedWrongly(f"{run.path} has no sample {sample!r}. {nearest(sample, rows['sample'].to_list())}")
    fact = found.row(0, named=True)
    classes = plan["model"]["classes"]
    story = Story(
        sample=sample,
        split=fact["split"],
        target=classes[fact["target"]],
        predicted=classes[fact["clean_predicted"]],
        confidence=fact["clean_confidence"],
        groups={c.removeprefix("group."): v for c, v in fact.items() if c.startswith("group.")},
        observations=_observations(run, plan, sample, classes),
    )
    try:
        return story.model_copy(update=_attribution(run, plan, story, parts))
    except MuroanError as error:
        return story.model_copy(update={"reason": str(error)})


def _observations(run: Run, plan: dict[str, Any], sample: str, classes: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Each probe's rows of the sample; answers by name."""
    out = {}
    for name in plan["probes"]:
        try:
            rows = run.evidence(name)
        except AskedWrongly:
            continue
        if rows.width:
            mine = rows.filter(pl.col("sample") == sample).sort("condition").drop("sample", "split")
            if len(mine):
                out[name] = [
                    {k: _answer(v, classes) if k == "predicted" else _short(v) for k, v in row.items()}
                    for row in mine.iter_rows(named=True)
                ]
    return out


def _answer(value: Any, classes: list[str]) -> Any:
    return classes[value] if isinstance(value, int) and 0 <= value < len(classes) else value


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else str(value)
    return [_short(v) for v in value] if isinstance(value, list) else value


def _attribution(run: Run, plan: dict[str, Any], story: Story, most: int) -> dict[str, Any]:
    from muroan.auditing.request import request

    again = request(str(run.path), None).plan()
    data = dict(again.data.items()).get(story.split)
    if data is None or story.sample not in data.ids:
        raise BadSample("the sample's data cannot be found again")
    loaded = data.load([list(data.ids).index(story.sample)])
    if loaded.batch is None:
        raise BadSample(loaded.quarantined[0].reason)
    clean = Clean.observe(Metered(again.model, data.schema.modalities), loaded.batch, seed=plan["seed"])
    known = registry.methods("explainers")
    out: dict[str, Any] = {"inputs": {m: _described(v) for m, v in loaded.batch.inputs.items()}}
    if "shapley" in known:
        values = known["shapley"]().explain(clean).modalities
        out["modalities"] = {m: float(v[0]) for m, v in values.items()}
    if "parts" in known:
        found: list[Part] = []
        for m, (boxes, values) in known["parts"]().explain(clean).parts.items():
            text = loaded.batch.inputs[m][0] if not isinstance(loaded.batch.inputs[m], Tensor) else None
            for box, value in zip(boxes[0].tolist(), values[0].tolist(), strict=True):
                if any(box[len(box) // 2 :]):
                    found.append(Part(modality=m, what=_named(box, text), value=value))
        out["parts"] = sorted(found, key=lambda p: -abs(p.value))[:most]
    return out


def _described(value: Any) -> str:
    return "×".join(map(str, value.shape[1:])) + " values" if isinstance(value, Tensor) else str(value[0])


def _named(box: list[int], text: str | None) -> str:
    if text is not None:
        return " ".join(text.split()[box[0] : box[0] + box[1]])
    axes = len(box) // 2
    return " × ".join(f"{box[a]}–{box[a] + box[axes + a] - 1}" for a in range(axes))
