"""VILLA (Gan et al., NeurIPS 2020): training on perturbed word embeddings lowers the worst loss near them.

The shipped easy-VQA model, trained on with 120 pictures' questions, plainly and by VILLA, equally long, three seeds.
The worst loss in the embedding ball of training is found by ten steps of projected ascent. It is regularisation: no
claim about attacks on words or pixels is made.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch
from muroan.data.easy_vqa import easy_vqa
from muroan.dataset import Splits
from muroan.estimate import mean, paired_difference, proportion
from muroan.mitigations.villa import VILLA, norm, pass_of
from muroan.model import Model
from muroan.models.easy_vqa import easy_vqa_model
from muroan.randomness import choose
from muroan.training import Trainer

SEEDS = (0, 1, 2)
QUESTIONS = 400
RADIUS = 0.04
"""Of the length of a question's word vectors: two steps of half of it reach it."""
LENGTH: dict[str, Any] = {"epochs": 5, "batch": 64, "rate": 1e-3}


def worst_loss(model: Model, batch: Batch, steps: int = 10) -> Tensor:
    """The highest loss [N] in each question's ball."""
    passed, start, mask = pass_of(model, batch, "question")
    start = start.detach()
    far = RADIUS * norm(start * mask)
    delta = torch.zeros_like(start)
    highest = torch.full((len(batch),), -torch.inf)
    for _ in range(steps + 1):
        delta = delta.detach().requires_grad_()
        loss = functional.cross_entropy(passed(delta), batch.targets, reduction="none")
        highest = torch.maximum(highest, loss.detach())
        [up] = torch.autograd.grad(loss.sum(), [delta])
        delta = delta + far / 4 * up * mask / norm(up * mask).clamp_min(1e-30)
        delta = delta * (far / norm(delta).clamp_min(1e-30)).clamp_max(1)
    return highest


def run() -> dict[str, Any]:
    """Both trainings of each seed."""
    splits = easy_vqa()
    assert splits.members is not None
    of = splits.members.clusters()
    names = sorted(set(of))
    kept = {names[k] for k in choose(names, 120, "r27")}
    data = Splits(splits.audited, members=splits.members.subset([i for i, c in enumerate(of) if c in kept]))
    batch = splits.audited.load(choose(splits.audited.ids, QUESTIONS, "r27")).batch
    assert batch is not None
    base = easy_vqa_model()
    seen: dict[str, dict[str, list[Tensor]]] = {n: {"worst": [], "loss": [], "right": []} for n in ("plain", "villa")}
    for seed in SEEDS:
        for name, inner in (("plain", 1), ("villa", 3)):
            # With one inner step VILLA is plain training, to the bit.
            model = (
                VILLA(inner=inner, step=RADIUS / 2, radius=RADIUS, **LENGTH)
                .apply(copy.deepcopy(base), data, Trainer(), seed=seed)
                .model
            )
            with torch.no_grad():
                logits = model.predict(batch.inputs)
            seen[name]["worst"].append(worst_loss(model, batch))
            seen[name]["loss"].append(functional.cross_entropy(logits, batch.targets, reduction="none"))
            seen[name]["right"].append(logits.argmax(dim=1) == batch.targets)
    by = list(batch.clusters or batch.ids) * len(SEEDS)
    now = {n: {k: torch.cat(v) for k, v in found.items()} for n, found in seen.items()}
    change = {k: mean(now["villa"][k] - now["plain"][k], by) for k in ("worst", "loss")}
    right = paired_difference(now["villa"]["right"], now["plain"]["right"], by)
    fell = change["worst"]
    return {
        "row": "r27",
        "claim": "The worst loss inside an embedding ball of the training radius is below plain training's.",
        "source": "Gan et al., NeurIPS 2020, arXiv 2006.06195",
        "measured": {
            **{
                n: {
                    "worst loss": str(mean(found["worst"], by)),
                    "loss": str(mean(found["loss"], by)),
                    "accuracy": str(proportion(found["right"], by)),
                }
                for n, found in now.items()
            },
            "worst loss, villa minus plain": str(fell),
            "loss, villa minus plain": str(change["loss"]),
            "accuracy, villa minus plain": str(right),
            "radius": f"{RADIUS:.0%} of the length of a question's word vectors, L2",
            "what this shows": "regularisation; nothing about changed words or pixels",
        },
        "verdict": "holds" if fell.high < 0 else "undecided" if fell.low < 0 else "does not hold here",
        "command": "python reproductions/r27.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2, ensure_ascii=False))
