"""Weather in pictures: snow, frost on the pane, fog, too much light."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from muroan.interventions.perturbations.base import Draws
from muroan.interventions.perturbations.blur import trails
from muroan.interventions.perturbations.filters import Lines, convolve, parts, separable
from muroan.interventions.perturbations.textures import Textures
from muroan.modality import Modality

FINEST_FLAKES = 2.0
"""The smallest flakes of `snow` in pixels; noise is drawn for these, larger ones enlarge its middle."""
LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue are (ITU-R BT.601)."""


def grey(x: Tensor) -> Tensor:
    """Brightness [N, 1, H, W] of pictures: of three channels by what an eye makes of them, else their mean."""
    if x.shape[1] != 3:
        return x.mean(dim=1, keepdim=True)
    return (x * torch.tensor(LUMA, dtype=x.dtype).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def cells(size: float, cell: float) -> int:
    """How many grains of noise, `cell` pixels apart, cover a line of `size` pixels."""
    return max(1, math.ceil(size / cell))


@lru_cache(maxsize=32)
def _enlarged(size: int, cell: float) -> Lines:
    """A line of grains drawn `cell` pixels apart, at `size` places; the ends of both lines meet."""
    few = cells(size, cell)
    at = np.arange(size) * ((few - 1) / max(1, round(few * cell) - 1))
    return Lines.of(np.maximum(0.0, 1 - np.abs(at[:, None] - np.arange(few)[None, :])))


def snow(
    x: Tensor,
    level: tuple[float, float, float, float, int, float, float],
    draws: Draws,
    modality: Modality,
    scale: float,
) -> Tensor:
    """(mean, spread, size, threshold, radius, sigma, kept) = level: flakes that fall, over a picture gone pale.

    Noise of N(mean, spread²) in grains of `size` pixels, what is below the threshold left out, smeared downwards by a
    trail (radius, sigma); laid on the picture twice, the second time upside down. Flakes that are smaller than a pixel
    at this scale are drawn on a finer grid and averaged.
    """
    mean, spread, size, threshold, radius, sigma, kept = level
    height, width = x.shape[-2:]
    fine = max(1, math.ceil(1 / scale))
    grain = size * scale * fine
    room = [(side, cells(side * fine, grain)) for side in (height, width)]
    drawn = [max(few, cells(side, FINEST_FLAKES * scale)) for side, few in room]
    middle = [slice((most - few) // 2, (most - few) // 2 + few) for most, (_, few) in zip(drawn, room, strict=True)]
    noise = draws.normal("flakes", *drawn)[:, middle[0], middle[1]]
    layer = separable(mean + spread * noise, _enlarged(height * fine, grain), _enlarged(width * fine, grain))
    layer = functional.threshold(layer, threshold, 0.0).clamp_(0, 1)[:, None]
    layer = functional.avg_pool2d(layer, fine) if fine > 1 else layer
    # The same trail as of a moving camera, a quarter turn on: (down, left) there is (left, down) here, mirrored.
    turn = (draws.uniform("angle") - 0.5) * (math.pi / 2)
    kernels, (aside, reach) = trails(turn, radius, sigma, scale)
    falling, origin = kernels.transpose(1, 2).flip(1), (kernels.shape[2] - 1 - reach, aside)
    layer = convolve(layer, falling, origin, border="replicate")
    pale = torch.maximum(x, 1.5 * grey(x) + 0.5)
    return torch.lerp(pale, x, kept).add_(layer).add_(layer.flip(2, 3)).clamp_(0, 1)


def frost(
    x: Tensor, level: tuple[float, float], draws: Draws, modality: Modality, scale: float, *, tool: Textures
) -> Tensor:
    """level[0] of the picture and level[1] of a random cut of a random texture: ice on the pane.

    tool: the pictures of frost that the user names (`perturbations.textures`). They are drawn at 1.1 times `scale`, or
    as large as it takes to cover the picture, as imagecorruptions does at scale 1.
    """
    which, top, left = draws.uniform("texture"), draws.uniform("top"), draws.uniform("left")
    ice = tool.cuts((x.shape[2], x.shape[3]), scale, which, top, left).to(x.dtype)
    if x.shape[1] != 3:
        ice = grey(ice)
    return torch.add(level[0] * x, ice, alpha=level[1]).clamp_(0, 1)


def plasma(noise: Tensor, decay: float) -> Tensor:
    """Clouds [N, size, size] from 0 to 1 by diamond-square on a torus, of noise in [−1, 1] (size: a power of 2)."""
    out = torch.zeros_like(noise)
    step, rough = noise.shape[-1], 1.0
    while step >= 2:
        half, spread = step // 2, rough * rough
        corners = out[:, ::step, ::step]
        square = corners + corners.roll(-1, 1)
        square = square + square.roll(-1, 2)
        middles = square.div_(4).add_(noise[:, half::step, half::step], alpha=spread)
        out[:, half::step, half::step] = middles
        beside = middles + middles.roll(1, 1) + corners + corners.roll(-1, 2)
        out[:, ::step, half::step] = beside.div_(4).add_(noise[:, ::step, half::step], alpha=spread)
        above = middles + middles.roll(1, 2) + corners + corners.roll(-1, 1)
        out[:, half::step, ::step] = above.div_(4).add_(noise[:, half::step, ::step], alpha=spread)
        step, rough = half, rough / decay
    low, high = out.amin(dim=(1, 2), keepdim=True), out.amax(dim=(1, 2), keepdim=True)
    return out.sub_(low).div_((high - low).clamp_min_(1e-12))


def fog(x: Tensor, level: tuple[float, float], draws: Draws, modality: Modality, scale: float) -> Tensor:
    """level[0] of clouds (roughness decays by level[1]) laid over, light brought back to the picture's maximum.

    The clouds are as large as the picture, whatever its size.
    """
    amount, decay = level
    height, width = x.shape[-2:]
    size = 2 ** max(1, math.ceil(math.log2(max(height, width))))
    noise = draws.uniform("clouds", size, size)
    out = torch.empty_like(x)
    for part in parts(len(x), size * size):
        clouds = plasma(2 * noise[part] - 1, decay)[:, None, :height, :width]
        brightest = x[part].amax(dim=(1, 2, 3), keepdim=True)
        out[part] = torch.add(x[part], clouds, alpha=amount).mul_(brightest / (brightest + amount)).clamp_(0, 1)
    return out


def brightness(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """`level` added to the value of hue, saturation, value: too much light."""
    value = x.amax(dim=1, keepdim=True)
    lifted = (value + level).clamp_max(1)
    return torch.where(value > 0, x * (lifted / value.clamp_min(1e-12)), lifted).clamp_(0, 1)
