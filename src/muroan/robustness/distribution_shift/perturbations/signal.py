"""Perturbations of sound, time series and table rows: noise, loss, overload.

The kinds are MultiBench's (white noise, random drop, structured drop; NeurIPS 2021 datasets and benchmarks); the
constants are Muroan's own, since its levels run from 0 to 1. Each value is changed by what it holds itself: the
noise in a sound or a series is relative to its own power or spread, that in a table row to the number in the cell,
never to the spread over a batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from muroan.modality import Modality
from muroan.robustness.distribution_shift.perturbations.base import Draws, Perturbation

SHARES = (0.05, 0.1, 0.2, 0.3, 0.4)
"""Share of points lost at severity 1..5."""


def white_noise(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Noise `level` decibels below the sound's own mean power; silence stays silent."""
    power = x.square().mean(dim=1, keepdim=True).sqrt()
    noisy = x + power * 10 ** (-level / 20) * draws.normal("noise", x.shape[1])
    return noisy.clamp(modality.low, modality.high)


def clipping(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Everything beyond `level` of the sound's own peak cut off: an overdriven microphone."""
    peak = x.abs().amax(dim=1, keepdim=True) * level
    return torch.minimum(torch.maximum(x, -peak), peak)


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


def spread_noise(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Noise of `level` times the channel's own standard deviation over this series' steps."""
    spread = x.std(dim=1, keepdim=True, correction=0)
    return x + level * spread * draws.normal("noise", *x.shape[1:])


def relative_noise(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Every cell times 1 + N(0, level²): an error of measurement in proportion to what is measured."""
    return x * (1 + level * draws.normal("noise", x.shape[1]))


def _row(name: str, kind: str, family: str, change: Any, levels: tuple[Any, Any, Any, Any, Any]) -> Perturbation:
    return Perturbation(name, kind, family, change, levels, "kinds: MultiBench; constants: Muroan")


TABLE: tuple[Perturbation, ...] = (
    _row("white_noise", "audio", "noise", white_noise, (30, 20, 10, 5, 0)),
    _row("clipping", "audio", "overload", clipping, (0.6, 0.4, 0.25, 0.15, 0.08)),
    _row("dropout", "audio", "loss", dropout, SHARES),
    _row("outage", "audio", "loss", outage, SHARES),
    _row("spread_noise", "series", "noise", spread_noise, (0.1, 0.2, 0.4, 0.6, 1.0)),
    _row("dropout", "series", "loss", dropout, SHARES),
    _row("outage", "series", "loss", outage, SHARES),
    _row("relative_noise", "tabular", "noise", relative_noise, (0.05, 0.1, 0.2, 0.3, 0.5)),
    _row("dropout", "tabular", "loss", dropout, SHARES),
)
