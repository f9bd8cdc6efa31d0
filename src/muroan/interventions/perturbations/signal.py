"""What the perturbations of sound, series and table rows share: loss, drift, clocks that run at different speeds.

Each value is changed by what it holds itself: noise, hum and drift are relative to its own power or spread, never to
the spread over a batch, so a value without any spread stays as it is. Random draws do not depend on the severity.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from muroan.interventions.perturbations.base import Draws
from muroan.modality import Modality

SHARES = (0.05, 0.1, 0.2, 0.3, 0.4)
"""Share of points lost at severity 1..5."""
KNOTS = 6
"""Places between which a drift runs in straight lines."""

MULTIBENCH = (
    "kinds: MultiBench (NeurIPS 2021 datasets and benchmarks); constants: Muroan, for its levels run from 0 to 1"
)
OURS = "kind and constants: Muroan"


def dropout(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Each point (frame, step, column) lost with chance `level`; lost is what the modality calls neutral."""
    extent = [int(e) for e in modality.grid(x).max(dim=0).values]
    return modality.erase(x, draws.uniform("lost", *extent) < level)  # type: ignore[no-any-return]


def outage(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """One stretch of `level` of the points lost, anywhere."""
    extent = int(modality.grid(x)[0, 0])
    length = round(level * extent)
    # The stretch grows around a middle that does not depend on the severity.
    start = (draws.uniform("middle") * extent - length / 2).clamp(0, extent - length).round().long()
    at = torch.arange(extent)
    return modality.erase(x, (at >= start[:, None]) & (at < start[:, None] + length))  # type: ignore[no-any-return]


def shifted(x: Tensor, offset: int) -> Tensor:
    """Streams [N, T, ...] later by `offset` steps, earlier if negative; an end left open holds its last value."""
    steps = torch.arange(x.shape[1]) - offset
    return x.index_select(1, steps.clamp(0, x.shape[1] - 1))


def clock_skew(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """The clock runs faster or slower by a share `level`: a sound or series is resampled, its length kept.

    Which of both is a draw. The start stays in place, the end is off by `level` of the length; what a fast clock
    leaves open at the end is held.
    """
    direction = torch.where(draws.uniform("direction") < 0.5, -1.0, 1.0)
    at = torch.arange(x.shape[1], dtype=torch.float64) * (1 + level * direction.double())[:, None]
    at = at.clamp(max=x.shape[1] - 1)
    low = at.floor().long()
    part = (at - low).to(x.dtype)
    if x.ndim == 3:
        low, part = low[..., None].expand_as(x), part[..., None]
    return torch.lerp(x.gather(1, low), x.gather(1, (low + 1).clamp(max=x.shape[1] - 1)), part)


def drift(draws: Draws, steps: int, *channels: int) -> Tensor:
    """Slow random curves [N, steps, *channels] that reach 1 or -1 somewhere: straight lines between random places."""
    knots = draws.normal("drift", *channels, KNOTS)
    knots = knots / knots.abs().amax(dim=-1, keepdim=True)
    shape = (len(knots), -1, KNOTS)
    curve = functional.interpolate(knots.reshape(shape), size=steps, mode="linear", align_corners=True)
    return curve.reshape(*knots.shape[:-1], steps).movedim(-1, 1)
