"""Blur of pictures: out of focus, through frosted glass, by a moving camera, by one that comes nearer."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from muroan.interventions.perturbations.base import Draws
from muroan.interventions.perturbations.filters import convolve, parts, smoothed
from muroan.modality import Modality


@lru_cache(maxsize=32)
def disk(radius: float, sigma: float, fine: int = 16) -> Tensor:
    """A disk's kernel [1, K, K], each place by the area that the disk covers, smoothed by a Gaussian."""
    from scipy.ndimage import gaussian_filter

    half = math.ceil(radius + 3 * sigma)
    at = (np.arange((2 * half + 1) * fine) + 0.5) / fine - half - 0.5
    inside = (at[:, None] ** 2 + at[None, :] ** 2 <= radius**2).astype(np.float64)
    covered = inside.reshape(2 * half + 1, fine, 2 * half + 1, fine).mean(axis=(1, 3))
    smooth = gaussian_filter(covered, sigma, mode="constant")
    return torch.from_numpy(smooth / smooth.sum()).float()[None]


def defocus_blur(x: Tensor, level: tuple[float, float], draws: Draws, modality: Modality, scale: float) -> Tensor:
    """A disk of radius level[0] smoothed with a Gaussian of width level[1]: out of focus."""
    return convolve(x, disk(level[0] * scale, level[1] * scale)).clamp_(0, 1)


def trails(turn: Tensor, radius: float, sigma: float, scale: float) -> tuple[Tensor, tuple[int, int]]:
    """Kernels [N, K, L] of trails to the left, turned up by `turn` [N] (radians, at most 45°), and their origin.

    A trail is half a Gaussian of 2·radius + 1 taps, one pixel apart at scale 1, drawn between pixels.
    """
    taps = torch.arange(2 * radius + 1, dtype=torch.float32)
    weights = torch.exp(-(taps**2) / (2 * sigma**2))
    weights = weights / weights.sum()
    reach = math.ceil(2 * radius * scale) + 1
    aside = math.ceil(2 * radius * scale * math.sqrt(0.5)) + 1
    tall, wide = 2 * aside + 1, reach + 2
    out = torch.zeros(len(turn), tall * wide)
    y = aside - torch.sin(turn)[:, None] * taps * scale
    x = reach - torch.cos(turn)[:, None] * taps * scale
    for dy in (0, 1):
        for dx in (0, 1):
            row, column = y.floor() + dy, x.floor() + dx
            near = (1 - (y - row).abs()).clamp_min(0) * (1 - (x - column).abs()).clamp_min(0)
            out.scatter_add_(1, (row * wide + column).long(), near * weights)
    return out.view(-1, tall, wide), (aside, reach)


def motion_blur(x: Tensor, level: tuple[int, float], draws: Draws, modality: Modality, scale: float) -> Tensor:
    """A trail of (radius, sigma) = level in a random direction within 45° of the horizontal: a moving camera."""
    turn = (draws.uniform("angle") - 0.5) * (math.pi / 2)
    return convolve(x, *trails(turn, *level, scale), border="replicate").clamp_(0, 1)


def glass_blur(x: Tensor, level: tuple[float, float, int], draws: Draws, modality: Modality, scale: float) -> Tensor:
    """(sigma, reach, rounds) = level: blurred, pixels moved, blurred: through frosted glass.

    In a round a pixel is moved twice by up to `reach` along each axis, since of two pixels that the original swaps both
    move, so each is in two swaps on average. Lengths between whole pixels are rounded up or down at random.
    """
    sigma, reach, rounds = level
    n, channels, height, width = x.shape
    out = smoothed(x, sigma * scale)
    place_y, place_x = torch.arange(height)[:, None], torch.arange(width)[None, :]
    for step in range(rounds):
        steps = draws.uniform(f"steps {step}", 2, 2, height, width)
        for part in parts(n, 2 * channels * height * width):
            # The places of a draw after its first twelve bits are a draw of their own, for rounding.
            by_chance = steps[part, :, 0].mul(4096).frac_()
            move = steps[part].sum(dim=2).sub_(1).mul_(2 * reach * scale).add_(by_chance).floor_().int()
            at_y = (place_y + move[:, 0]).clamp_(0, height - 1)
            at_x = (place_x + move[:, 1]).clamp_(0, width - 1)
            flat = at_y.mul_(width).add_(at_x).view(len(move), 1, -1).expand(-1, channels, -1)
            out[part] = out[part].flatten(2).gather(2, flat).view(-1, channels, height, width)
    return smoothed(out, sigma * scale).clamp_(0, 1)


@lru_cache(maxsize=32)
def _zooms(size: int, most: float, step: float) -> tuple[tuple[Tensor, Tensor, Tensor], ...]:
    """Bilinear zooms of a line about its middle, by 1, 1 + step, ... below `most`.

    Each as the line before every place [size], the one after it, and how near to this [size, 1].
    """
    factors = np.arange(1, most, step)
    middle = (size - 1) / 2
    at = middle + (np.arange(size)[None, :] - middle) / factors[:, None]
    before = np.clip(np.floor(at).astype(int), 0, max(size - 2, 0))
    after = np.minimum(before + 1, size - 1)
    near = (at - before).astype(np.float32)[..., None]
    lines = (torch.from_numpy(found) for found in (before, after, near))
    return tuple(zip(*lines, strict=True))


def zoom_blur(x: Tensor, level: tuple[float, float], draws: Draws, modality: Modality, scale: float) -> Tensor:
    """The picture and its zooms by 1 to level[0] in steps of level[1], averaged: the camera moves towards it."""
    rows, columns = _zooms(x.shape[2], *level), _zooms(x.shape[3], *level)

    def zoomed(some: Tensor, by: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        before, after, near = by
        return torch.lerp(some.index_select(2, before), some.index_select(2, after), near.to(some.dtype))

    out = torch.empty_like(x)
    for part in parts(len(x), x[0].numel()):
        # Whole rows are moved, and pictures turned in between, since single columns are slow to fetch.
        some = x[part]
        total = torch.zeros_like(some.transpose(2, 3), memory_format=torch.contiguous_format)
        for row, column in zip(rows, columns, strict=True):
            total += zoomed(zoomed(some, row).transpose(2, 3).contiguous(), column)
        out[part] = some + total.transpose(2, 3)
    return out.div_(len(rows) + 1).clamp_(0, 1)
