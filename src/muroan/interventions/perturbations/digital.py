"""What devices and formats do to pictures: contrast lost, bent, coarse pixels, JPEG."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from muroan.interventions.perturbations.base import Draws
from muroan.interventions.perturbations.filters import parts, smoothed
from muroan.modality import Modality


def contrast(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Differences from each channel's mean shrunk to `level` of them."""
    return torch.lerp(x.mean(dim=(2, 3), keepdim=True), x, level).clamp_(0, 1)


def elastic(x: Tensor, level: tuple[float, float, float], draws: Draws, modality: Modality, scale: float) -> Tensor:
    """(amplitude, smoothness, skew) = level: a random affine map, then random displacements, smoothed.

    Displacements are amplitude / smoothness pixels in size, so the amplitude is scaled twice.
    """
    amplitude, smooth, skew = level[0] * scale**2, level[1] * scale, level[2] * scale
    n, _, height, width = x.shape
    field = 2 * draws.uniform("field", 2, height, width) - 1
    moved = smoothed(field, smooth, "reflect", truncate=3.0) * amplitude
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
    return found.clamp_(0, 1)


@lru_cache(maxsize=32)
def _boxes(size: int, level: float) -> tuple[tuple[tuple[Tensor, Tensor], ...], Tensor]:
    """A line cut into int(level · size) boxes: pairs of (the k-th pixel of each box, its weight); each pixel's box.

    A pixel belongs to the box that its middle lies in, as in Pillow's box filter.
    """
    few = max(1, int(size * level))
    middle = (np.arange(few)[:, None] + 0.5) * size / few
    away = (np.arange(size)[None, :] + 0.5 - middle) * few / size
    inside = (away > -0.5) & (away <= 0.5)
    first, count = inside.argmax(axis=1), inside.sum(axis=1)
    members = tuple(
        (
            torch.from_numpy(np.minimum(first + k, size - 1)),
            torch.from_numpy(((k < count) / count).astype(np.float32))[:, None],
        )
        for k in range(int(count.max()))
    )
    return members, torch.from_numpy(((np.arange(size) + 0.5) * few / size).astype(int))


def _averages(x: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Rows averaged box by box, and which box each row was in."""
    members, own = _boxes(x.shape[2], level)
    out = torch.zeros(*x.shape[:2], len(members[0][0]), x.shape[3], dtype=x.dtype)
    for row, weight in members:
        out.addcmul_(x.index_select(2, row), weight.to(x.dtype))
    return out, own


def pixelate(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Shrunk to `level` of its side and enlarged again, both by box."""
    out = torch.empty_like(x)
    # Whole rows are moved, and pictures turned in between, since single columns are slow to fetch.
    for part in parts(len(x), x[0].numel(), 2**19):
        low, own_row = _averages(x[part], level)
        small, own_column = _averages(low.transpose(2, 3).contiguous(), level)
        wide = small.clamp_(0, 1).index_select(2, own_column).transpose(2, 3).contiguous()
        torch.index_select(wide, 2, own_row, out=out[part])
    return out


def jpeg(x: Tensor, level: int, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Saved as JPEG of quality `level` and read again; pictures of other than 3 channels channel by channel."""
    from PIL import Image as Pictures

    height, width = x.shape[-2:]
    planes = x if x.shape[1] == 3 else x.reshape(-1, 1, height, width)
    out = torch.empty_like(planes)
    mode, room = ("RGBX", 4) if planes.shape[1] == 3 else ("L", 1)  # what Pillow holds, so that it need not be copied
    for picture, read in zip(planes, out, strict=True):
        pixels = np.empty((height, width, room), dtype=np.uint8)
        for c, plane in enumerate((picture * 255).round_().numpy().astype(np.uint8)):
            pixels[..., c] = plane  # channel by channel: much faster than all at once
        file = io.BytesIO()
        Pictures.frombuffer(mode, (width, height), pixels, "raw", mode, 0, 1).save(file, "JPEG", quality=level)
        found = np.asarray(Pictures.open(file, formats=("JPEG",))).reshape(height, width, -1)
        for c, plane in enumerate(read):
            np.multiply(found[..., c], np.float32(1 / 255), out=plane.numpy())
    return out.view(x.shape)
