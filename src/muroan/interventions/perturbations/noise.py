"""Noise of pictures: Gaussian, of photons, of dead cells, speckle.

The draws do not depend on the severity, so a higher one is a longer step in the same direction.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from muroan.interventions.perturbations.base import Draws
from muroan.interventions.perturbations.filters import parts
from muroan.modality import Modality

LIGHT_LEVELS = 1020
"""Shot noise: steps from black to white, a multiple of 255."""
_GUIDES = 64


def gaussian_noise(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """x + N(0, level²), as in weak light."""
    return torch.add(x, draws.normal("noise", *x.shape[1:]), alpha=level).clamp_(0, 1)


def speckle_noise(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """x · (1 + N(0, level²)): brighter pixels are noisier."""
    return torch.addcmul(x, x, draws.normal("noise", *x.shape[1:]), value=level).clamp_(0, 1)


def impulse_noise(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """A share `level` of values becomes 0 or 1, half of them each, as from dead sensor cells."""
    place = draws.uniform("place", *x.shape[1:])
    out = torch.empty_like(x)
    for part in parts(len(x), x[0].numel()):
        # From both ends of one draw, so that a value that a lower severity blackens is not whitened by a higher one.
        out[part] = x[part].masked_fill(place[part] < level / 2, 0.0).masked_fill_(place[part] >= 1 - level / 2, 1.0)
    return out


@lru_cache(maxsize=8)
def _photons(count: float) -> tuple[Tensor, Tensor, int]:
    """P(at most k photons) at every light level, flat float [L · K]; where to begin to look; K.

    A draw u in [g, g + 1) / G is met by no fewer photons than the place `start` at [L · G] says, and mostly by these.
    """
    from scipy.special import pdtr

    most = int(count + 12 * math.sqrt(count) + 12)
    rate = np.arange(LIGHT_LEVELS + 1)[:, None] / LIGHT_LEVELS * count
    table = np.minimum(pdtr(np.arange(most)[None, :], rate), 1.0).astype(np.float32)
    table[:, -1] = 2.0
    guides = np.arange(_GUIDES) / _GUIDES
    start = np.stack([np.searchsorted(row, guides, side="right") for row in table])
    start += np.arange(LIGHT_LEVELS + 1)[:, None] * most
    return torch.from_numpy(table.ravel()), torch.from_numpy(start.ravel().astype(np.int32)), most


def shot_noise(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Poisson(x · level) / level: `level` photons make a white pixel.

    By inversion of the distribution at each level of light, with a table of where to begin (Chen and Asau 1974).
    """
    table, start, most = _photons(level)
    draw = draws.uniform("photons", *x.shape[1:])
    out = torch.empty_like(x)
    for part in parts(len(x), x[0].numel()):
        u = draw[part].flatten()
        row = (x[part] * LIGHT_LEVELS).round_().int().flatten()
        guide = (u * _GUIDES).int().clamp_max_(_GUIDES - 1)
        place = start.index_select(0, guide.add_(row, alpha=_GUIDES))
        short = torch.nonzero(table.index_select(0, place) <= u).flatten()
        while len(short):
            ahead = place[short] + 1
            place[short] = ahead
            short = short[table.index_select(0, ahead) <= u[short]]
        counts = place.sub_(row, alpha=most)
        out[part] = (counts.to(x.dtype) / level).clamp_(0, 1).view_as(x[part])
    return out
