"""M-Attack: match random crops of a picture with random crops of its target, on several surrogates at once.

A crop changes what a surrogate sees at every step, so that what is painted has to say the same at every place and size.
Source: Li et al. 2025 (arXiv 2503.10635).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from muroan.errors import AskedWrongly
from muroan.interventions.attacks.ascent import Inputs
from muroan.interventions.attacks.code_attack import Goal
from muroan.interventions.attacks.stage import Stage
from muroan.interventions.attacks.targeted import TargetedCodes, spread, values_of
from muroan.randomness import Words, sample_keys, uniform
from muroan.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class MAttack(TargetedCodes):
    """Climbs the cosine of a crop of the picture with a crop of the target, both drawn anew for every sample and step.

    crop: the least and largest share of a picture's area that a crop keeps, resized to the whole (square crops of
    square pictures); () for none, which is the control. Inputs that are not pictures are matched whole. Surrogates'
    cosines are averaged. Constants of the paper, for a radius of 16/255: 300 steps of 1/16 of it, crops of 0.5 to 0.9.

    The last step is handed back, not the best one: cosines of different crops cannot be compared.
    """

    name = "m_attack"
    source = "Li et al. 2025 (arXiv 2503.10635)"

    latest: ClassVar[bool] = True

    steps: int = 300
    step: float = 1 / 16
    crop: tuple[float, ...] = (0.5, 0.9)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop and not (len(self.crop) == 2 and 0 < self.crop[0] <= self.crop[1] <= 1):
            raise AskedWrongly(f"crop is the least and largest share of a picture, such as (0.5, 0.9), not {self.crop}")

    def _goal(self, clean: Stage, m: str, seed: int) -> Goal:
        model, batch = clean.model, clean.batch
        targets = values_of(self.target, batch, m)
        crops = bool(self.crop) and batch.modalities[m].kind == "image"
        whole = spread(model.encode(m, targets).data, len(batch))
        targets = spread(targets, len(batch))
        step = [0]

        def goal(x: Inputs, sample: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            value = x[m]
            wanted = whole[sample]
            # Step 0 is the sample itself, judged whole.
            if crops and step[0]:
                ids = [batch.ids[i] for i in sample.tolist()]
                value = cropped(value, self.crop, sample_keys(ids, seed, self.name, "source", step[0]))
                theirs = cropped(targets[sample], self.crop, sample_keys(ids, seed, self.name, "target", step[0]))
                wanted = model.encode(m, theirs, anew=True).data
            code = model.encode_differentiable(m, value)
            own = code
            if crops and self.stop:
                own = model.encode(m, x[m].detach(), anew=True).data
            step[0] += 1
            return (code * wanted).sum(dim=1), {m: own}

        return goal


def cropped(x: Tensor, share: tuple[float, ...], keys: Words) -> Tensor:
    """A random square part of each picture [N, C, H, W], of `share` of its area, resized to the whole (bilinear)."""
    draws = torch.from_numpy(uniform(keys, 3)).to(x.dtype)
    side = (share[0] + (share[1] - share[0]) * draws[:, 0]).sqrt()
    shift = (1 - side)[:, None] * (2 * draws[:, 1:] - 1)
    zero = torch.zeros_like(side)
    rows = [torch.stack([side, zero, shift[:, 0]], dim=1), torch.stack([zero, side, shift[:, 1]], dim=1)]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(x.shape), align_corners=False)
    out: Tensor = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return out
