"""Filters of whole pictures that several perturbations are made of: convolution, Gaussian blur, maps of lines.

Pictures are float [N, C, H, W]. Each is filtered by itself, whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Border = Literal["reflect", "replicate"]
"""What lies outside a picture: the picture mirrored at its outermost pixels, or these pixels over and over."""
STRIP = 56
"""Lines of a picture that a banded map makes at once."""
CACHED = 2**18
"""Numbers worked on at once where a step leaves something large behind: what stays in the processor's cache."""


def parts(n: int, numbers: int, most: int = CACHED) -> Iterator[slice]:
    """Slices of N pictures of so many numbers each, few enough at once for the cache and at least one."""
    step = max(1, most // max(1, numbers))
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def padded(x: Tensor, sides: tuple[int, int, int, int], border: Border) -> Tensor:
    """Pictures with (left, right, top, bottom) pixels more; mirrored as often as it takes."""
    height, width = x.shape[-2:]
    left, right, top, bottom = sides
    if border == "replicate" or (max(left, right) < width and max(top, bottom) < height):
        return functional.pad(x, sides, mode=border)
    # `pad` mirrors once.
    rows = torch.from_numpy(np.pad(np.arange(height), (top, bottom), mode="reflect"))
    columns = torch.from_numpy(np.pad(np.arange(width), (left, right), mode="reflect"))
    return x.index_select(2, rows).index_select(3, columns)


def convolve(x: Tensor, kernels: Tensor, origin: tuple[int, int] | None = None, border: Border = "reflect") -> Tensor:
    """Pictures with a kernel each ([N, K, L]) or one for all ([1, K, L]).

    origin: where in the kernel no displacement is, its middle unless told. By Fourier transforms, of a size that these
    are fast at.
    """
    from scipy.fft import next_fast_len

    n, channels, height, width = x.shape
    tall, wide = kernels.shape[1:]
    down, across = origin or (tall // 2, wide // 2)
    sides = (wide - 1 - across, across, tall - 1 - down, down)
    size = [next_fast_len(height + tall - 1), next_fast_len(width + wide - 1)]
    # What wraps around falls on the margin, which is cut off.
    weights = torch.fft.rfft2(kernels.to(x.dtype), s=size)[:, None]
    out = torch.empty_like(x)
    for part in parts(n, channels * size[0] * size[1]):
        waves = torch.fft.rfft2(padded(x[part], sides, border), s=size)
        waves *= weights if len(weights) == 1 else weights[part]
        found = torch.fft.irfft2(waves, s=size)
        out[part] = found[..., tall - 1 : tall - 1 + height, wide - 1 : wide - 1 + width]
    return out


@dataclass(frozen=True)
class Lines:
    """A linear map of lines [size', size] in strips: lines come out a few at a time, each of those that it needs.

    strips: (first line needed, one past the last, weights [some of size', those]), in order.
    """

    strips: tuple[tuple[int, int, Tensor], ...]

    @staticmethod
    def of(matrix: NDArray[np.float64]) -> Lines:
        """Of a matrix; of strips only where they make a difference, since a band of it is not zero."""
        size = len(matrix)
        out = []
        for start in range(0, size, STRIP):
            some = matrix[start : start + STRIP]
            used = np.flatnonzero(some.any(axis=0))
            low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
            out.append((low, high, torch.from_numpy(some[:, low:high].copy()).float()))
        if 2 * sum(w.numel() for _, _, w in out) > matrix.size:
            return Lines(((0, matrix.shape[1], torch.from_numpy(matrix).float()),))
        return Lines(tuple(out))

    def down(self, x: Tensor) -> Tensor:
        """Applied along the height of [..., H, W]."""
        return torch.cat([w @ x[..., low:high, :] for low, high, w in self.strips], dim=-2)

    def across(self, x: Tensor) -> Tensor:
        """Applied along the width of [..., H, W]."""
        flat = x.reshape(-1, x.shape[-1])
        out = torch.cat([flat[:, low:high] @ w.T for low, high, w in self.strips], dim=1)
        return out.view(*x.shape[:-1], -1)


def separable(x: Tensor, rows: Lines, columns: Lines) -> Tensor:
    """A linear map of lines applied along both axes of pictures [N, ..., H, W]."""
    done = [columns.across(rows.down(x[part])) for part in parts(len(x), x[0].numel())]
    return torch.cat(done) if len(done) > 1 else done[0]


@lru_cache(maxsize=64)
def _gaussian(size: int, sigma: float, mode: str, truncate: float) -> Lines:
    """The Gaussian filter of a line of that size."""
    from scipy.ndimage import gaussian_filter1d

    return Lines.of(np.asarray(gaussian_filter1d(np.eye(size), sigma, axis=0, mode=mode, truncate=truncate)))


def smoothed(x: Tensor, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> Tensor:
    """Gaussian blur of [N, ..., H, W] with width `sigma` pixels, cut off at `truncate` widths."""
    height, width = x.shape[-2:]
    return separable(x, _gaussian(height, sigma, mode, truncate), _gaussian(width, sigma, mode, truncate))
