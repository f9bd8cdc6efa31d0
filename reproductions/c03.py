"""EMAP (Hessel & Lee, EMNLP 2020) on easy-VQA: does the model need its modalities together?

An additive model is its own projection; a model that multiplies its codes loses accuracy under it. The additive
model is a logistic regression on the shipped model's two frozen codes side by side, fitted on training pictures.
Beside the gap stand the accuracies that tell a model without interaction from one with a dead tower.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from muroan import Metered, TorchModel
from muroan.batch import Batch
from muroan.controllability.explainability.emap import emap
from muroan.data.easy_vqa import EasyVQA, easy_vqa
from muroan.estimate import paired_difference, proportion
from muroan.models.easy_vqa import EasyVQAModel, easy_vqa_model
from muroan.randomness import choose

PAIRS = 300
FITTED_ON = 6000


def one_question_a_picture(data: EasyVQA, n: int) -> Batch:
    """n samples of n different pictures."""
    names: dict[str, list[int]] = {}
    for i, cluster in enumerate(data.clusters()):
        names.setdefault(cluster, []).append(i)
    pictures = sorted(names)
    picks = [names[pictures[p]] for p in choose(pictures, n, "c03 pictures")]
    index = [rows[choose([data.ids[r] for r in rows], 1, "c03 question")[0]] for rows in picks]
    batch = data.load(index).batch
    assert batch is not None
    return batch


def additive_model(trained: EasyVQAModel, members: EasyVQA) -> TorchModel:
    """Image logits + question logits on the trained model's frozen codes."""
    from sklearn.linear_model import LogisticRegression

    batch = members.load(choose(members.ids, FITTED_ON, "c03 fit")).batch
    assert batch is not None
    codes, index = Metered(trained, members.schema.modalities).codes(batch)
    both = torch.cat([codes[m].data[index[m]] for m in trained.modalities], dim=1)
    centre, scale = both.mean(dim=0), both.std(dim=0)
    fit = LogisticRegression(max_iter=2000, C=1.0).fit(((both - centre) / scale).numpy(), batch.targets.numpy())
    weight = torch.zeros(len(trained.classes), both.shape[1])
    bias = torch.full((len(trained.classes),), -30.0)
    weight[fit.classes_] = torch.tensor(fit.coef_, dtype=torch.float32)
    bias[fit.classes_] = torch.tensor(fit.intercept_, dtype=torch.float32)

    def fuse(codes: Any) -> Tensor:
        return torch.cat([codes[m] for m in trained.modalities], dim=1)

    return TorchModel(
        encoders={m: lambda values, m=m: trained.encode(m, values) for m in trained.modalities},
        fusion=fuse,
        head=lambda z: ((z - centre) / scale) @ weight.T + bias,
        classes=trained.classes,
        name="additive",
    )


def measure(model: Metered, batch: Batch) -> dict[str, Any]:
    """The gap and what tells what it means."""
    found = emap(model, batch)
    right = found.logits.argmax(dim=1) == batch.targets
    projected = found.additive.argmax(dim=1) == batch.targets
    shuffled = batch.with_inputs(image=batch.inputs["image"].roll(1, dims=0))  # every picture is another one
    return {
        "accuracy": str(proportion(right)),
        "accuracy of the projection": str(proportion(projected)),
        "gap": str(paired_difference(right, projected)),
        "gap excludes 0": paired_difference(right, projected).excludes(0.0),
        "largest |f - projection|": float(found.interaction.abs().max()),
        "accuracy with pictures exchanged": str(proportion(model.of(shuffled).argmax(dim=1) == batch.targets)),
        **{
            f"accuracy without {m}": str(proportion(model.of(batch.without(m)).argmax(dim=1) == batch.targets))
            for m in batch.modalities
        },
    }


def run() -> dict[str, Any]:
    """Both models on 300 test questions about 300 pictures, 90,000 combinations each."""
    data, trained = easy_vqa(), easy_vqa_model()
    batch = one_question_a_picture(data.audited, PAIRS)
    schema = data.audited.schema.modalities
    measured = {
        "additive": measure(Metered(additive_model(trained, data.members), schema), batch),
        "multiplicative": measure(Metered(trained, schema), batch),
    }
    same = measured["additive"]["largest |f - projection|"] < 1e-5 and (
        measured["additive"]["accuracy"] == measured["additive"]["accuracy of the projection"]
    )
    return {
        "row": "C03",
        "claim": "Additive models equal their projection; accuracy lost under it is accuracy from interactions.",
        "source": "Hessel & Lee, EMNLP 2020 (EMAP)",
        "measured": measured,
        "verdict": "holds" if same and measured["multiplicative"]["gap excludes 0"] else "does not hold here",
        "command": "python reproductions/c03.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
