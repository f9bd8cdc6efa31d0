"""Missing modalities (Ma et al., CVPR 2022) on easy-VQA: does training with masks flatten the curve over missing rates?

A logistic regression on the shipped model's two frozen codes and their product, fitted on training pictures: plain,
and on the same cases with everything, with the picture alone and with the question alone (the source's multi-task
loss). Equal parameters. The rest is the probe's: accuracy against the rate at which an input is missing. The source's
search for the layer to fuse at needs a transformer and is not built here.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from muroan.auditing.observe import observe_all
from muroan.data.easy_vqa import EasyVQA, easy_vqa
from muroan.dataset import Splits
from muroan.estimate import mean, paired_difference
from muroan.meter import Metered
from muroan.model import TorchModel
from muroan.models.easy_vqa import EasyVQAModel, easy_vqa_model
from muroan.randomness import choose
from muroan.robustness.distribution_shift.curves import curve_area
from muroan.robustness.distribution_shift.missing_modality import MissingModality
from muroan.robustness.distribution_shift.subset_grid import RATES, Grid

FITTED_ON = 4000
TESTED_ON = 3000
MODALITIES = ("image", "question")


def features(image: Tensor, question: Tensor) -> Tensor:
    """What the head sees of two codes."""
    return torch.cat([image, question, image * question], dim=1)


def heads(trained: EasyVQAModel, members: EasyVQA) -> dict[str, TorchModel]:
    """The plain head, and the one that also saw cases with an input missing."""
    from sklearn.linear_model import LogisticRegression

    batch = members.load(choose(members.ids, FITTED_ON, "r05 fit")).batch
    assert batch is not None
    codes, index = Metered(trained, members.schema.modalities).codes(batch)
    own = {m: codes[m].data[index[m]] for m in MODALITIES}
    empty = {
        m: trained.encode(m, batch.modalities[m].neutral(batch.inputs[m][:1])).expand(len(batch), -1)
        for m in MODALITIES
    }
    full = features(own["image"], own["question"])
    centre, scale = full.mean(dim=0), full.std(dim=0)
    seen = {
        "plain": [full],
        "masked": [full, features(own["image"], empty["question"]), features(empty["image"], own["question"])],
    }
    out = {}
    for name, parts in seen.items():
        x = ((torch.cat(parts) - centre) / scale).numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = LogisticRegression(max_iter=300).fit(x, np.tile(batch.targets.numpy(), len(parts)))
        weight = torch.zeros(len(trained.classes), x.shape[1])
        bias = torch.full((len(trained.classes),), -30.0)
        weight[fit.classes_] = torch.tensor(fit.coef_, dtype=torch.float32)
        bias[fit.classes_] = torch.tensor(fit.intercept_, dtype=torch.float32)
        out[name] = TorchModel(
            encoders={m: lambda v, m=m: trained.encode(m, v) for m in MODALITIES},
            fusion=lambda codes: (features(codes["image"], codes["question"]) - centre) / scale,
            head=lambda z, weight=weight, bias=bias: z @ weight.T + bias,
            classes=trained.classes,
            name=name,
        )
    return out


def run() -> dict[str, Any]:
    """Both heads on the same 3,000 test questions."""
    data, trained = easy_vqa(), easy_vqa_model()
    grids: dict[str, Grid] = {}
    said: dict[str, dict[str, str]] = {}
    probe = MissingModality(limit=TESTED_ON)
    for name, model in heads(trained, data.members).items():
        evidence, _ = observe_all([probe], model, Splits(data.audited))
        grids[name] = Grid.read(evidence[probe.name])
        found = probe.conclude(evidence[probe.name]).findings
        said[name] = {f.metric: str(f.estimate) for f in found if f.modality is None and f.condition is None}
    plain, masked = grids["plain"], grids["masked"]
    area = np.array([curve_area(row, RATES) for row in np.eye(len(RATES))])
    measured: dict[str, Any] = {}
    falls, raised = [], []
    for m in MODALITIES:
        drop = paired_difference(plain.full, plain.correct[plain.without(m)], plain.by)
        areas = mean((masked.curve(m) - plain.curve(m)) @ area, plain.by, bounds=(-1, 1))
        last = paired_difference(masked.correct[masked.without(m)], plain.correct[plain.without(m)], plain.by)
        falls.append(drop.low > 0)
        raised.append(areas.low > 0 and last.low > 0)
        measured[f"{m} missing"] = {
            "plain: accuracy lost from rate 0 to 1": str(drop),
            "masked minus plain, area under the curve": str(areas),
            "masked minus plain, at rate 1": str(last),
            **{
                f"{name}: accuracy at rates 0, .1 .. 1": [round(float(v), 4) for v in g.curve(m).mean(axis=0)]
                for name, g in grids.items()
            },
        }
    cost = paired_difference(masked.full, plain.full, plain.by)
    return {
        "row": "R05",
        "claim": "Accuracy falls with the missing rate; training with masks raises the area under the curve and the "
        "accuracy at the largest rate, at equal parameter count.",
        "source": "Ma et al., CVPR 2022 (arXiv 2204.05454)",
        "measured": {
            **measured,
            "masked minus plain, nothing missing": str(cost),
            "parameters of each": 13 * (3 * 48 + 1),
            "probe's figures": said,
        },
        "holds by modality": {m: f and r for m, f, r in zip(MODALITIES, falls, raised, strict=True)},
        "verdict": "holds" if all(falls) and all(raised) else "does not hold here",
        "not measurable here": "the choice of the layer to fuse at: no transformer with a choice of it ships",
        "command": "python reproductions/r05.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
