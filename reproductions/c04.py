"""DIME (Lyu et al., AIES 2022) on easy-VQA: LIME maps of what a picture's cells say alone, and only with the question.

An additive model has no interaction map. For "is there ...?" questions the answer needs picture and question together,
so one expects the multiplicative model's weight of the cell with the shape in the interaction map. The score is the
centred logit of the model's answer: what a picture does to the logits of all 13 answers, whatever is asked, is its
unimodal contribution.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import torch
from c03 import additive_model, one_question_a_picture
from torch import Tensor

from muroan import Metered
from muroan.clean import Clean
from muroan.controllability.explainability.dime import Maps, dime
from muroan.controllability.explainability.parts import Parts
from muroan.data.easy_vqa import easy_vqa
from muroan.estimate import mean, proportion
from muroan.models.easy_vqa import easy_vqa_model

ITEMS, BACKGROUND = 150, 100
EXPLAINER = Parts(method="lime", cells=4, coalitions=128)


def shape_cell(pictures: Tensor) -> Tensor:
    """[N]: the cell of the picture that differs most from the picture's border colour, of 16."""
    distance = (pictures - pictures[:, :, :1, :1]).abs().sum(dim=1, keepdim=True)
    return torch.nn.functional.avg_pool2d(distance, 16).flatten(1).argmax(dim=1)


def maps_of(model: Any, batch: Any, background: Any, modalities: Any) -> tuple[Maps, Clean]:
    """Maps of the pictures' cells."""
    metered = Metered(model, modalities)
    clean = Clean.observe(metered, batch)
    return dime(clean, Clean.observe(metered, background), "image", EXPLAINER), clean


def run() -> dict[str, Any]:
    """Maps of both models on test questions "is there ...?" about different pictures."""
    data, trained = easy_vqa(), easy_vqa_model()
    schema = data.audited.schema.modalities
    test = data.audited
    there = [i for i, name in enumerate(test.ids) if test.sample(i).groups["kind"] == "is there"]
    asked = test.load(there).batch
    assert asked is not None
    first = {c: i for i, c in reversed(list(enumerate(asked.clusters or [])))}
    batch = asked.take([first[c] for c in sorted(first)][:ITEMS])
    batch = replace(batch, modalities=schema)
    background = one_question_a_picture(test, BACKGROUND)

    additive, _ = maps_of(additive_model(trained, data.members), batch, background, schema)
    share = additive.interaction.abs().amax(dim=1) / additive.unimodal.abs().amax(dim=1)
    found, clean = maps_of(trained, batch, background, schema)
    cell = shape_cell(batch.inputs["image"])[:, None]
    together, alone = found.interaction.gather(1, cell).squeeze(1), found.unimodal.gather(1, cell).squeeze(1)
    larger = proportion(together.abs() > alone.abs())
    measured = {
        "additive: largest interaction weight over largest unimodal weight": float(share.max()),
        "multiplicative: shape's cell weighs more in the interaction map": str(larger),
        "multiplicative: |weight| of the shape's cell, interaction": str(mean(together.abs())),
        "multiplicative: |weight| of the shape's cell, alone": str(mean(alone.abs())),
        "accuracy on these questions": str(proportion(clean.correct)),
    }
    if float(share.max()) < 1e-4 and larger.low >= 0.8:
        verdict = "holds"
    elif larger.high < 0.8 or float(share.max()) >= 1e-4:
        verdict = "does not hold here"
    else:
        verdict = "undecided"
    return {
        "row": "C04",
        "claim": "Additive models have no interaction map; where an answer needs both inputs, the interaction map "
        "carries the weight (in at least 80 % of the items).",
        "source": "Lyu et al., AIES 2022 (DIME)",
        "measured": measured,
        "verdict": verdict,
        "command": "python reproductions/c04.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
