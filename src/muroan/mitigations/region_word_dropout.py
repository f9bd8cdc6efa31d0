"""Region and word dropout: training on inputs that lack a part at a random place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from muroan.interventions.attacks.matched import place
from muroan.interventions.attacks.removal import POINTWISE, Removal
from muroan.mitigations.removal_training import RemovalTraining
from muroan.registry import register

HALVINGS = 3
"""A region's sides are a half, a quarter or an eighth of the input's: the sizes that a decoupling search halves to."""


@register
@dataclass(frozen=True, kw_only=True)
class RegionWordDropout(RemovalTraining):
    """One random region of a picture (stretch of a sound or series), one random word or column; see `RemovalTraining`.

    The control of `salient_point_removal`: as much is removed, in pieces of the same kinds and sizes, but anywhere.
    """

    name = "region_word_dropout"
    does = "Trains on inputs that lack a random region or word, so that no small part decides alone."
    source = "DeVries & Taylor 2017, arXiv 1708.04552 (cutout); Iyyer et al., ACL 2015 (word dropout)"

    def parts(self, removal: Removal) -> dict[str, Tensor]:
        return {m: _anywhere(removal, m) for m in removal.modalities}


def _anywhere(removal: Removal, m: str) -> Tensor:
    """One box [N, 1, 2·axes] a sample, at a random place; none where the sample has no such modality."""
    grid = removal.grids[m]
    n, pointwise = len(grid), removal.modalities[m].kind in POINTWISE
    halved = 2 ** torch.randint(1, HALVINGS + 1, (n, 1))
    length = torch.ones_like(grid) if pointwise else (grid // halved).clamp_min(1)
    boxes = torch.cat([torch.zeros_like(grid), torch.where(grid > 0, length, 0)], dim=1)[:, None]
    keys = torch.randint(2**62, (n,)).numpy().astype(np.uint64)
    return place(boxes, grid, keys, pointwise=pointwise)
