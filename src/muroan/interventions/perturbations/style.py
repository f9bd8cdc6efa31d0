"""Pictures in the style of paintings, by a function that the user names: style transfer needs trained weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from muroan.errors import AskedWrongly
from muroan.interventions.perturbations.base import Draws
from muroan.modality import Modality

SEEDS = 2**31
SLACK = 1e-3
"""So far outside of [0, 1] a function's values may lie and are brought back, as rounding leaves them."""


def stylize(
    x: Tensor, level: float, draws: Draws, modality: Modality, scale: float, *, tool: Callable[[Tensor, Tensor], Any]
) -> Tensor:
    """Pictures as the user's function paints them: AdaIN with alpha = level (Huang and Belongie 2017), or any other.

    tool: (pictures [N, C, H, W] in [0, 1], seeds long [N]) -> pictures of the same shape in [0, 1]. A picture's seed
    says which painting it takes after; its result may depend on its own row alone. The blend alpha is the function's:
    the source has 1, all style.
    """
    seeds = torch.from_numpy((draws.doubles("painting") * SEEDS).astype("int64"))
    with torch.no_grad():
        found = tool(x.clone(), seeds)  # a copy: what others still need is not the function's to write into
    if not isinstance(found, Tensor):
        raise AskedWrongly(f"the function given for stylize returned {type(found).__name__}, not a tensor of pictures")
    if found.shape != x.shape:
        raise AskedWrongly(
            f"the function given for stylize returned shape {tuple(found.shape)} for pictures {tuple(x.shape)}: "
            "it must return as many of the same size (resize them back in it)"
        )
    found = found.detach().to(device=x.device, dtype=x.dtype)
    if not bool(torch.isfinite(found).all()):
        raise AskedWrongly("the function given for stylize returned values that are not finite")
    low, high = float(found.min()), float(found.max())
    if low < -SLACK or high > 1 + SLACK:
        raise AskedWrongly(
            f"the function given for stylize returned values in [{low:.3g}, {high:.3g}]; pictures are in [0, 1] "
            "(undo its normalisation, or clamp what it paints)"
        )
    return found.clamp(0, 1)
