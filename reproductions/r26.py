"""R26: multimodal contrastive learning (MMCL; Lin & Hu, Findings of EMNLP 2022), judged by noise on the weak views.

Handwritten digits in three views of the UCI multiple features: the Fourier coefficients and the Zernike moments, which
do not change when a digit is turned and are the weak ones, and the Karhunen-Loève coefficients. The same untrained
network is trained on the members with all terms, with each alone, and without any (the control: same schedule, same
parameters), on five seeds. Gaussian noise of rising size is added to both weak views of fresh digits; what counts is
the area under accuracy over noise, per digit. Weights are the defaults, chosen before anything was measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from muroan import Model
from muroan.batch import Batch
from muroan.data.multiple_features import multiple_features
from muroan.estimate import mean, paired_difference, proportion
from muroan.mitigations.multimodal_contrastive import MultimodalContrastive
from muroan.models.digit_views import network
from muroan.randomness import normal, sample_keys
from muroan.training import Trainer

SEEDS = (0, 1, 2, 3, 4)
WEAK, STRONG = ("fourier", "zernike"), ("karhunen",)
VIEWS = (*WEAK, *STRONG)
NOISE = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Standard deviations of what is added, in those of the columns."""
FULL = MultimodalContrastive(epochs=30)
NONE = replace(FULL, unimodal=0.0, instance=0.0, by_label=0.0)
ALL, CONTROL = "all terms", "no contrastive term"
ARMS: Mapping[str, MultimodalContrastive] = {
    ALL: FULL,
    "within an input alone (UMCC)": replace(NONE, unimodal=FULL.unimodal),
    "across inputs alone (CMCP, instances)": replace(NONE, instance=FULL.instance),
    "by class alone": replace(NONE, by_label=FULL.by_label),
    CONTROL: NONE,
}


def curve(model: Model, batch: Batch, seed: int) -> Tensor:
    """Right or not [N, noises], with the same noise for every model."""
    out = []
    for k, size in enumerate(NOISE):
        changed = {}
        for view in WEAK:
            draws = normal(sample_keys(batch.ids, "r26", seed, k, view), batch.inputs[view].shape[1])
            changed[view] = batch.inputs[view] + size * torch.from_numpy(draws).float()
        with torch.no_grad():
            out.append(model.predict({**batch.inputs, **changed}).argmax(dim=1) == batch.targets)
    return torch.stack(out, dim=1)


def area(right: Tensor) -> Tensor:
    """Area under accuracy over noise by the trapezoid rule, over the range of noise: [N], 0 to 1."""
    return torch.trapezoid(right.double(), torch.tensor(NOISE).double(), dim=1) / NOISE[-1]


def run() -> dict[str, Any]:
    """Areas of every arm, pooled over seeds with a digit as the cluster, and each arm minus the control."""
    data = multiple_features(VIEWS)
    batch = data.audited.load(range(len(data.audited))).batch
    assert batch is not None
    right: dict[str, list[Tensor]] = {name: [] for name in ARMS}
    sizes = set()
    for seed in SEEDS:
        for name, arm in ARMS.items():
            model = arm.apply(network(VIEWS, seed=seed), data, Trainer(), seed=seed).model
            sizes.add(sum(p.numel() for p in model.trainable().parameters()))
            right[name].append(curve(model, batch, seed))
    by = list(batch.ids) * len(SEEDS)
    seen = {name: torch.cat(parts) for name, parts in right.items()}
    areas = {name: area(r) for name, r in seen.items()}
    over = {n: paired_difference(a, areas[CONTROL], by) for n, a in areas.items() if n != CONTROL}
    found = over[ALL]
    conditions = {
        "the area of all terms is above the control's, apart": found.low > 0,
        "the same number of parameters": len(sizes) == 1,
    }
    return {
        "row": "R26",
        "claim": "With contrastive terms within and across inputs, the area under the noise curve of the weak views is "
        "above that of the same network without them.",
        "source": "Lin & Hu, Findings of EMNLP 2022 (arXiv 2210.14556); weights and temperature: ours",
        "measured": {
            "area under accuracy over noise": {n: mean(a, by, bounds=(0.0, 1.0)) for n, a in areas.items()},
            "area minus the control's": over,
            "accuracy by noise": {
                n: {str(s): proportion(r[:, k], by) for k, s in enumerate(NOISE)} for n, r in seen.items()
            },
            "clean accuracy minus the control's": {
                n: paired_difference(r[:, 0], seen[CONTROL][:, 0], by) for n, r in seen.items() if n != CONTROL
            },
            "parameters": sorted(sizes),
            "seeds": len(SEEDS),
            "noise": "Gaussian on both weak views at once, in standard deviations of a column",
            "conditions": conditions,
        },
        "verdict": "holds" if all(conditions.values()) else "does not hold here" if found.high < 0 else "undecided",
        "command": "python reproductions/r26.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2, default=str))
