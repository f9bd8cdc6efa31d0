"""Fourteen picture corruptions of ImageNet-C (Hendrycks and Dietterich 2019), as MM_Robustness uses them.

Pictures are float [N, C, H, W] in [0, 1] of any size. The constants are the published ones, which were chosen for
224×224 pixels. Lengths among them (radii, blur widths, displacements) are multiplied by `scale`; with scale =
min(H, W) / 224 a corruption hides the same share of a small picture as of a large one, with scale = 1 the same
number of pixels. Noise, zoom, fog, brightness, contrast, pixelate and jpeg have no lengths in pixels.

Known trade-offs (accepted):
- glass blur moves every pixel to a random near place at once, where the original swaps pixels one after another;
- motion blur places its taps between pixels (bilinear), where the original rounds them to whole pixels;
- the disk of the defocus blur is drawn by area, so that its radius need not be a whole number;
- shot noise rounds light to 1/1020, which is exact for pictures of 8 bits;
- snow (its flakes have a size in pixels), frost (needs six textures) and stylize (needs AdaIN weights and
  paintings) are left out.
"""

from __future__ import annotations

import io
import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from muroan.modality import Modality
from muroan.robustness.distribution_shift.perturbations.base import Draws, Perturbation

REFERENCE_SIZE = 224
"""Side in pixels of the pictures that the constants were chosen for."""
LIGHT_LEVELS = 1020
"""Shot noise: steps from black to white, a multiple of 255."""
_NUMBERS_AT_ONCE = 2**21


# Noise. The draws do not depend on the severity, so a higher one is a longer step in the same direction.


def gaussian_noise(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """x + N(0, level²), as in weak light."""
    return (x + level * draws.normal("noise", *x.shape[1:])).clamp(0, 1)


def speckle_noise(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """x · (1 + N(0, level²)): brighter pixels are noisier."""
    return (x * (1 + level * draws.normal("noise", *x.shape[1:]))).clamp(0, 1)


def impulse_noise(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """A share `level` of values becomes 0 or 1, as from dead sensor cells."""
    hit = draws.uniform("place", *x.shape[1:]) < level
    salt = (draws.uniform("colour", *x.shape[1:]) < 0.5).to(x.dtype)
    return torch.where(hit, salt, x)


@lru_cache(maxsize=8)
def _photons(count: float) -> Tensor:
    """P(at most k photons) at every light level, row after row, each row raised by its number: double [L · K]."""
    from scipy.special import pdtr

    most = int(count + 12 * math.sqrt(count) + 12)
    rate = np.arange(LIGHT_LEVELS + 1)[:, None] / LIGHT_LEVELS * count
    table = np.minimum(pdtr(np.arange(most)[None, :], rate), 1.0)
    table[:, -1] = 1.0
    return torch.from_numpy((table + np.arange(LIGHT_LEVELS + 1)[:, None]).ravel())


def shot_noise(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Poisson(x · level) / level: `level` photons make a white pixel."""
    table = _photons(level)
    per_row = len(table) // (LIGHT_LEVELS + 1)
    row = (x * LIGHT_LEVELS).round().double()
    wanted = (draws.uniform("photons", *x.shape[1:]).double() * (1 - 1e-9) + row).flatten()
    counts = torch.searchsorted(table, wanted).view(x.shape) - row.long() * per_row
    return (counts.to(x.dtype) / level).clamp(0, 1)


# Blur.


def _mirrored(size: int, margin: int) -> Tensor:
    """Indices of a line with `margin` mirrored places added at both ends."""
    return torch.from_numpy(np.pad(np.arange(size), margin, mode="reflect"))


def convolve(x: Tensor, kernels: Tensor) -> Tensor:
    """Pictures [N, C, H, W] with a kernel each ([N, K, K]) or one for all ([1, K, K]); mirrored borders."""
    height, width = x.shape[-2:]
    margin = kernels.shape[-1] // 2
    padded = x[..., _mirrored(height, margin), :][..., _mirrored(width, margin)]
    size = padded.shape[-2:]
    waves = torch.fft.rfft2(padded) * torch.fft.rfft2(kernels.to(x.dtype), s=size)[:, None]
    found: Tensor = torch.fft.irfft2(waves, s=size)
    return found[..., 2 * margin :, 2 * margin :]


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
    return convolve(x, disk(level[0] * scale, level[1] * scale)).clamp(0, 1)


def streaks(angle: Tensor, radius: float, sigma: float, scale: float) -> Tensor:
    """Kernels [N, K, K] of a trail in direction `angle` [N] (radians): half a Gaussian, 2·radius + 1 taps."""
    taps = torch.arange(2 * radius + 1, dtype=torch.float32)
    weights = torch.exp(-(taps**2) / (2 * sigma**2))
    weights = weights / weights.sum()
    half = math.ceil(2 * radius * scale) + 1
    size = 2 * half + 1
    out = torch.zeros(len(angle), size * size)
    y = half + torch.sin(angle)[:, None] * taps * scale
    x = half + torch.cos(angle)[:, None] * taps * scale
    for dy in (0, 1):
        for dx in (0, 1):
            row, column = y.floor() + dy, x.floor() + dx
            near = (1 - (y - row).abs()).clamp_min(0) * (1 - (x - column).abs()).clamp_min(0)
            out.scatter_add_(1, (row * size + column).long(), near * weights)
    return out.view(-1, size, size)


def motion_blur(x: Tensor, level: tuple[int, float], draws: Draws, modality: Modality, scale: float) -> Tensor:
    """A trail of (radius, sigma) = level in a random direction within 45° of the horizontal: a moving camera."""
    angle = (draws.uniform("angle") - 0.5) * (math.pi / 2)
    return convolve(x, streaks(angle, *level, scale)).clamp(0, 1)


def _separable(x: Tensor, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Tensor:
    """A linear map of lines applied along both axes: rows [H', H], columns [W', W]."""
    return torch.from_numpy(rows).to(x.dtype) @ x @ torch.from_numpy(columns).to(x.dtype).T


@lru_cache(maxsize=64)
def _gaussian(size: int, sigma: float, mode: str) -> NDArray[np.float64]:
    """The Gaussian filter of a line as a matrix [size, size]."""
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(np.eye(size), sigma, axis=0, mode=mode, truncate=3.0))


def smoothed(x: Tensor, sigma: float, mode: str = "nearest") -> Tensor:
    """Gaussian blur of [..., H, W] with width `sigma` pixels."""
    return _separable(x, _gaussian(x.shape[-2], sigma, mode), _gaussian(x.shape[-1], sigma, mode))


def glass_blur(x: Tensor, level: tuple[float, float, int], draws: Draws, modality: Modality, scale: float) -> Tensor:
    """(sigma, reach, rounds) = level: blurred, pixels moved by up to `reach`, blurred: through frosted glass.

    Reaches below one pixel move a share of the pixels by one (the offset is rounded up or down at random).
    """
    sigma, reach, rounds = level
    n, channels, height, width = x.shape
    out = smoothed(x, sigma * scale)
    place_y, place_x = torch.arange(height)[:, None], torch.arange(width)[None, :]
    for step in range(rounds):
        move = (2 * draws.uniform(f"move {step}", 2, height, width) - 1) * (reach * scale)
        whole = torch.floor(move + draws.uniform(f"round {step}", 2, height, width)).long()
        at_y = (place_y + whole[:, 0]).clamp(0, height - 1)
        at_x = (place_x + whole[:, 1]).clamp(0, width - 1)
        flat = (at_y * width + at_x).view(n, 1, -1).expand(-1, channels, -1)
        out = out.flatten(2).gather(2, flat).view_as(out)
    return smoothed(out, sigma * scale).clamp(0, 1)


@lru_cache(maxsize=32)
def _zooms(size: int, most: float, step: float) -> NDArray[np.float64]:
    """Bilinear zooms of a line about its middle, by 1, 1 + step, ... below `most`: [Z, size, size]."""
    factors = np.arange(1, most, step)
    middle = (size - 1) / 2
    at = middle + (np.arange(size)[None, :] - middle) / factors[:, None]
    below = np.clip(np.floor(at).astype(int), 0, max(size - 2, 0))
    share = at - below
    out = np.zeros((len(factors), size, size))
    z, place = np.indices(at.shape)
    out[z, place, below] += 1 - share
    out[z, place, np.minimum(below + 1, size - 1)] += share
    return out


def zoom_blur(x: Tensor, level: tuple[float, float], draws: Draws, modality: Modality, scale: float) -> Tensor:
    """The picture and its zooms by 1 to level[0] in steps of level[1], averaged: the camera moves towards it."""
    rows, columns = (torch.from_numpy(_zooms(size, *level)).to(x.dtype) for size in x.shape[-2:])
    z, height, width = len(rows), x.shape[-2], x.shape[-1]
    # Two matrix products for all zooms together: rows of every zoom, then columns summed over zooms. The product in
    # between is as large as all zooms, so only a few pictures go at once.
    rows, columns = rows.reshape(z * height, height), columns.transpose(1, 2).reshape(z * width, width)
    out = []
    for some in torch.split(x, max(1, _NUMBERS_AT_ONCE // (z * x[0].numel()))):
        n, channels = some.shape[:2]
        up = (rows @ some).view(n, channels, z, height, width).transpose(2, 3)
        out.append(some + up.reshape(n, channels, height, z * width) @ columns)
    return (torch.cat(out) / (z + 1)).clamp(0, 1)


# Weather.


def plasma(draws: Draws, size: int, decay: float) -> Tensor:
    """Clouds [N, size, size] from 0 to 1 by diamond-square on a torus (size: a power of 2)."""
    noise = 2 * draws.uniform("clouds", size, size).double() - 1
    out = torch.zeros(len(draws), size, size, dtype=torch.float64)
    step, rough = size, 100.0
    while step >= 2:
        half, spread = step // 2, rough * rough
        corners = out[:, ::step, ::step]
        square = corners + corners.roll(-1, 1)
        square = square + square.roll(-1, 2)
        out[:, half::step, half::step] = square / 4 + spread * noise[:, half::step, half::step]
        middles = out[:, half::step, half::step]
        beside = middles + middles.roll(1, 1) + corners + corners.roll(-1, 2)
        out[:, ::step, half::step] = beside / 4 + spread * noise[:, ::step, half::step]
        above = middles + middles.roll(1, 2) + corners + corners.roll(-1, 1)
        out[:, half::step, ::step] = above / 4 + spread * noise[:, half::step, ::step]
        step, rough = half, rough / decay
    low, high = out.amin(dim=(1, 2), keepdim=True), out.amax(dim=(1, 2), keepdim=True)
    return ((out - low) / (high - low).clamp_min(1e-12)).float()


def fog(x: Tensor, level: tuple[float, float], draws: Draws, modality: Modality, scale: float) -> Tensor:
    """level[0] of clouds (roughness decays by level[1]) laid over, light brought back to the picture's maximum.

    The clouds are as large as the picture, whatever its size.
    """
    amount, decay = level
    height, width = x.shape[-2:]
    size = 2 ** max(1, math.ceil(math.log2(max(height, width))))
    clouds = plasma(draws, size, decay)[:, None, :height, :width]
    brightest = x.amax(dim=(1, 2, 3), keepdim=True)
    return ((x + amount * clouds) * brightest / (brightest + amount)).clamp(0, 1)


def brightness(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """`level` added to the value of hue, saturation, value: too much light."""
    value = x.amax(dim=1, keepdim=True)
    lifted = (value + level).clamp_max(1)
    return torch.where(value > 0, x * (lifted / value.clamp_min(1e-12)), lifted).clamp(0, 1)


# Digital.


def contrast(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Differences from each channel's mean shrunk to `level` of them."""
    mean = x.mean(dim=(2, 3), keepdim=True)
    return ((x - mean) * level + mean).clamp(0, 1)


def elastic(x: Tensor, level: tuple[float, float, float], draws: Draws, modality: Modality, scale: float) -> Tensor:
    """(amplitude, smoothness, skew) = level: a random affine map, then random displacements, smoothed.

    Displacements are amplitude / smoothness pixels in size, so the amplitude is scaled twice.
    """
    amplitude, smooth, skew = level[0] * scale**2, level[1] * scale, level[2] * scale
    n, _, height, width = x.shape
    field = 2 * draws.uniform("field", 2, height, width) - 1
    moved = smoothed(field, smooth, "reflect") * amplitude
    centre, side = torch.tensor([height // 2, width // 2]).float(), min(height, width) // 3
    points = centre + torch.tensor([[side, side], [side, -side], [-side, -side]]).float()  # (y, x)
    jitter = (2 * draws.uniform("skew", 3, 2) - 1) * skew
    known = torch.cat([points, torch.ones(3, 1)], dim=1)
    affine = torch.linalg.solve(known.expand(n, 3, 3), points + jitter) if side else torch.eye(3, 2).expand(n, 3, 2)
    grid = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")).float()
    at = (grid + moved).permute(0, 2, 3, 1).reshape(n, -1, 2)
    at = torch.cat([at, torch.ones(n, at.shape[1], 1)], dim=2) @ affine
    # grid_sample wants (x, y) from −1 to 1 between the outer edges of the picture.
    y = (2 * at[..., 0] + 1) / height - 1
    where = torch.stack([(2 * at[..., 1] + 1) / width - 1, y], dim=-1).view(n, height, width, 2)
    found = functional.grid_sample(x, where, mode="bilinear", padding_mode="reflection", align_corners=False)
    return found.clamp(0, 1)


@lru_cache(maxsize=32)
def _boxes(size: int, level: float) -> NDArray[np.float64]:
    """A line averaged over int(level · size) boxes and drawn at full size again, as a matrix.

    A pixel belongs to the box that its middle lies in, as in Pillow's box filter.
    """
    few = max(1, int(size * level))
    middle = (np.arange(few)[:, None] + 0.5) * size / few
    away = (np.arange(size)[None, :] + 0.5 - middle) * few / size
    inside = ((away > -0.5) & (away <= 0.5)).astype(np.float64)
    averages = inside / inside.sum(axis=1, keepdims=True)
    return np.asarray(averages[((np.arange(size) + 0.5) * few / size).astype(int)])


def pixelate(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Shrunk to `level` of its side and enlarged again, both by box."""
    return _separable(x, _boxes(x.shape[-2], level), _boxes(x.shape[-1], level)).clamp(0, 1)


def jpeg(x: Tensor, level: int, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Saved as JPEG of quality `level` and read again; pictures of other than 3 channels channel by channel."""
    from PIL import Image as Pictures

    planes = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    if planes.shape[-1] != 3:
        planes = planes.permute(0, 3, 1, 2).reshape(-1, *x.shape[-2:])
    out = np.empty(planes.shape, dtype=np.uint8)
    for i, plane in enumerate(planes.numpy()):
        file = io.BytesIO()
        Pictures.fromarray(plane).save(file, "JPEG", quality=level)
        out[i] = np.asarray(Pictures.open(file))
    read = torch.from_numpy(out).to(x.dtype) / 255
    return read.permute(0, 3, 1, 2).contiguous() if x.shape[1] == 3 else read.view(x.shape)


def _row(name: str, family: str, change: Any, levels: tuple[Any, Any, Any, Any, Any]) -> Perturbation:
    return Perturbation(name, "image", family, change, levels, "ImageNet-C")


TABLE: tuple[Perturbation, ...] = (
    _row("gaussian_noise", "noise", gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    _row("shot_noise", "noise", shot_noise, (60, 25, 12, 5, 3)),
    _row("impulse_noise", "noise", impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27)),
    _row("speckle_noise", "noise", speckle_noise, (0.15, 0.2, 0.35, 0.45, 0.6)),
    _row("defocus_blur", "blur", defocus_blur, ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))),
    _row("glass_blur", "blur", glass_blur, ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))),
    _row("motion_blur", "blur", motion_blur, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
    _row("zoom_blur", "blur", zoom_blur, ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))),
    _row("fog", "weather", fog, ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))),
    _row("brightness", "weather", brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    _row("contrast", "digital", contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    _row(
        "elastic",
        "digital",
        elastic,
        (
            (244 * 2, 244 * 0.7, 244 * 0.1),
            (244 * 2, 244 * 0.08, 244 * 0.2),
            (244 * 0.05, 244 * 0.01, 244 * 0.02),
            (244 * 0.07, 244 * 0.01, 244 * 0.02),
            (244 * 0.12, 244 * 0.01, 244 * 0.02),
        ),
    ),
    _row("pixelate", "digital", pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
    _row("jpeg", "digital", jpeg, (25, 18, 15, 10, 7)),
)
