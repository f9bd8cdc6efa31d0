"""Pictures as a folder's image processor prepares them, in torch, so that gradients reach the user's pixels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.errors import AskedWrongly
from muroan.models.hf.folder import Folder, settings_of

NEAREST, BILINEAR, BICUBIC = 0, 2, 3
"""Pillow's numbers of the ways to resample that have a counterpart in torch with the same kernel."""
MODES = {NEAREST: "nearest-exact", BILINEAR: "bilinear", BICUBIC: "bicubic"}
ROUNDING = 0.5 / 255
"""Half a grey level."""
LONGER_TO_SHORTER = 1333 / 800
"""The longest side that ViLT's pictures may have, of the shortest (its image processor, transformers 5)."""


class Pictures(nn.Module):
    """[N, 3, H, W] in [0, 1] -> [N, 3, h, w], resized with antialiasing, cropped and normalised.

    What Pillow does in whole grey levels is done here in real numbers: both differ by a grey level or two. Where a
    bicubic kernel overshoots black or white, Pillow cuts off, and so does this, from half a grey level on: nearer than
    that it is rounding, and a gradient would be lost in every white background.
    """

    mean: Tensor
    std: Tensor
    settings: Tensor

    def __init__(self, folder: Folder) -> None:
        super().__init__()
        made: Any = folder.read("AutoImageProcessor")
        self.size = _sides(made.size) if made.do_resize else {}
        self.crop = _sides(made.crop_size) if getattr(made, "do_center_crop", None) else {}
        self.divisor = int(getattr(made, "size_divisor", None) or 0)
        resample = int(made.resample) if made.resample is not None else BILINEAR
        if self.size and resample not in MODES:
            raise AskedWrongly(
                f"hf:{folder.name}: its pictures are resized by a method that is not differentiable here (Pillow's "
                f"number {resample}); nearest (0), bilinear (2) and bicubic (3) are"
            )
        self.mode = MODES.get(resample, "")
        if self.size and not ({"shortest_edge"} == set(self.size) or {"height", "width"} <= set(self.size)):
            raise AskedWrongly(f"hf:{folder.name}: pictures are resized to {self.size}, which is not understood")
        # Processors count grey levels from 0 to 255.
        self.scale = 255.0 * (float(made.rescale_factor) if made.do_rescale else 1.0)
        mean, std = (made.image_mean, made.image_std) if made.do_normalize else ([0.0] * 3, [1.0] * 3)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))
        told = {"size": self.size, "crop": self.crop, "divisor": self.divisor, "mode": self.mode, "scale": self.scale}
        self.register_buffer("settings", settings_of(**told))

    def forward(self, x: Tensor) -> Tensor:
        if self.size:
            target = self.target(x.shape[-2], x.shape[-1])
            if target != tuple(x.shape[-2:]):
                x = self._resized(x, target)
        if self.crop:
            x = _cropped(x, self.crop["height"], self.crop["width"])
        out: Tensor = (x * self.scale - self.mean) / self.std
        return out

    def named(self, x: Tensor) -> dict[str, Tensor]:
        """The same as an image network takes it, by name."""
        return {"pixel_values": self(x)}

    def target(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that a picture of this size is resized to."""
        if "shortest_edge" not in self.size:
            return self.size["height"], self.size["width"]
        edge = self.size["shortest_edge"]
        if self.divisor:
            return _multiple(height, width, edge, self.divisor)
        long = int(edge * max(height, width) / min(height, width))
        return (edge, long) if height <= width else (long, edge)

    def _resized(self, x: Tensor, target: tuple[int, int]) -> Tensor:
        if self.mode == MODES[NEAREST]:
            return functional.interpolate(x, size=target, mode=self.mode)
        # Pillow goes along rows first, then along columns, and cuts off after each.
        for size in ((x.shape[-2], target[1]), target):
            x = functional.interpolate(x, size=size, mode=self.mode, align_corners=False, antialias=True)
            if self.mode == MODES[BICUBIC]:
                x = x.clamp(-ROUNDING, 1 + ROUNDING)
        return x


def _sides(size: Any) -> dict[str, int]:
    """{"shortest_edge": s} or {"height": h, "width": w} of a size as transformers has it."""
    return {k: int(v) for k, v in dict(size).items() if v}


def _cropped(x: Tensor, height: int, width: int) -> Tensor:
    """The middle of the pictures; where they are smaller, black around them."""
    lacking = [max(0, want - have) for want, have in zip((height, width), x.shape[-2:], strict=True)]
    if any(lacking):
        # The odd row or column goes to the beginning.
        top, left = (-(-n // 2) for n in lacking)
        x = functional.pad(x, (left, lacking[1] - left, top, lacking[0] - top))
    y, z = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    return x[..., y : y + height, z : z + width]


def _multiple(height: int, width: int, edge: int, divisor: int) -> tuple[int, int]:
    """ViLT's size: the shorter side `edge`, the longer at most 1333/800 of it, both multiples of `divisor`."""
    scale = edge / min(height, width)
    sides = [scale * height, scale * width]
    longest = int(LONGER_TO_SHORTER * edge)
    if max(sides) > longest:
        sides = [s * longest / max(sides) for s in sides]
    rounded = [int(s + 0.5) // divisor * divisor for s in sides]
    return rounded[0], rounded[1]
