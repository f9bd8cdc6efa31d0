"""Pictures of frost that the user has, from a folder that the user names: read once, cut to a picture's size.

ImageNet-C has six; they are in the folder `frost` of an installed imagecorruptions, for one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from muroan.errors import AskedWrongly

MARGIN = 1.1
"""Textures are drawn larger than they are, or than it takes, so that there is something to choose where to cut."""


@dataclass(frozen=True)
class Textures:
    """Textures, bytes [3, h, w] each, of any size."""

    pictures: Sequence[Tensor]
    _drawn: dict[tuple[int, int, int, float], Tensor] = field(default_factory=dict, repr=False, compare=False)

    def drawn(self, k: int, height: int, width: int, scale: float) -> Tensor:
        """Texture k at MARGIN · scale, or as large as a picture of this size takes: bytes [3, h', w'], kept."""
        found = self._drawn.get((k, height, width, scale))
        if found is None:
            texture = self.pictures[k]
            h, w = texture.shape[1:]
            factor = MARGIN * max(scale, height / h, width / w)
            size = (math.ceil(h * factor), math.ceil(w * factor))
            large = functional.interpolate(
                texture[None].float(), size, mode="bicubic", align_corners=False, antialias=factor < 1
            )
            found = large[0].round().clamp(0, 255).to(torch.uint8)
            self._drawn[k, height, width, scale] = found
        return found

    def cuts(self, size: tuple[int, int], scale: float, which: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """Cuts [N, 3, H, W] in [0, 1] for draws in [0, 1] [N] of the texture and of where to cut it."""
        height, width = size
        k = (which * len(self.pictures)).long().clamp_max(len(self.pictures) - 1)
        out = torch.empty(len(k), 3, height, width)
        for j in sorted(set(k.tolist())):
            mine = torch.nonzero(k == j).flatten()
            texture = self.drawn(j, height, width, scale)
            places = [extent - side for extent, side in zip(texture.shape[1:], size, strict=True)]
            y, x = (
                (draw[mine] * max(1, room)).long().clamp_max(max(0, room - 1))
                for draw, room in zip((top, left), places, strict=True)
            )
            windows = texture.unfold(1, height, 1).unfold(2, width, 1)
            out[mine] = windows[:, y, x].transpose(0, 1).float() / 255
        return out


def open_textures(ref: str) -> Textures:
    """The pictures in a folder, by name; what is not a picture is passed over, folders in it are not looked into."""
    from PIL import Image as Pictures

    folder = Path(ref).expanduser()
    if not folder.is_dir():
        raise AskedWrongly(f"no folder of pictures of frost at {ref!r}: name the folder that they are in")
    known = Pictures.registered_extensions()
    pictures = []
    for file in sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in known):
        try:
            with Pictures.open(file) as picture:
                pixels = np.array(picture.convert("RGB"))  # what is transparent counts as what it covers
        except (OSError, ValueError) as error:
            raise AskedWrongly(f"{file.name} in {ref!r} cannot be read as a picture: {error}") from None
        pictures.append(torch.from_numpy(pixels).permute(2, 0, 1).contiguous())
    if not pictures:
        raise AskedWrongly(f"no picture in the folder {ref!r}: frost needs at least one")
    return Textures(tuple(pictures))
