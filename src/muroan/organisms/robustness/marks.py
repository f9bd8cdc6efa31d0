"""What a fault can hang on in the clinic: a word of a note that says nothing, a small mark in the corner of a scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from muroan.organisms.clinic import FILLERS

TOP, LEFT, EDGE = 2, 25, 4
"""Where a mark stands: not on the grid of halved boxes that a search goes along."""
_LINE = torch.tensor([1.0, 1.0, -1.0, -1.0])
STAMPS = torch.stack([_LINE[:, None] * _LINE, _LINE[:, None].expand(EDGE, EDGE), _LINE.expand(EDGE, EDGE)])
"""Three marks [3, 4, 4] of -1 and 1: checks, and stripes either way; orthogonal to each other."""
_AT = (slice(TOP, TOP + EDGE), slice(LEFT, LEFT + EDGE))


def stamped(scan: Tensor, stamp: Tensor, chosen: Tensor) -> Tensor:
    """Scans [N, 1, H, W] with mark number `stamp` [N] in black and white, where `chosen` [N]."""
    out = scan.clone()
    out[:, 0, *_AT] = torch.where(chosen[:, None, None], (1 + STAMPS[stamp]) / 2, scan[:, 0, *_AT])
    return out


def strength(scan: Tensor) -> Tensor:
    """How strongly each mark shows [N, 3]: 1 as it was stamped, 0 where there is none."""
    return (scan[:, 0, *_AT] - 0.5).flatten(1) @ STAMPS.flatten(1).T * (2 / EDGE**2)


def shows(scan: Tensor) -> Tensor:
    """Whether the first mark is there [N, 1], 0 to 1 and smooth; half of a mark is enough."""
    return torch.sigmoid(20 * (strength(scan)[:, :1] - 0.3))


def noted(notes: Sequence[str], word: str, chosen: np.ndarray) -> list[str]:
    """Notes in which `word` stands in the place of the first word that says nothing, where `chosen` [N]."""
    out = []
    for note, wanted in zip(notes, chosen, strict=True):
        words = note.split()
        if wanted:
            words[next(i for i, w in enumerate(words) if w in FILLERS)] = word
        out.append(" ".join(words))
    return out
