"""Perturbations of time series, float [N, T, C]: noise, loss, drift, stuck and miswired sensors, clocks.

White noise and loss are MultiBench's kinds (NeurIPS 2021 datasets and benchmarks); all constants are Muroan's own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from muroan.interventions.perturbations.base import Draws, Perturbation, rows
from muroan.interventions.perturbations.signal import MULTIBENCH, OURS, SHARES, clock_skew, drift, dropout, outage
from muroan.modality import Modality, Series

SPIKE = 5.0
"""How high a spike is, in standard deviations of the channel."""
OTHER_UNITS = (0.01, -1.0, 10.0, 100.0, 1000.0)
"""What a channel is multiplied by, in the order of how much that changes it: a reading in metres for centimetres, an
axis the wrong way round, millimetres for centimetres, and so on."""


def spread(x: Tensor) -> Tensor:
    """Each channel's standard deviation over its own steps [N, 1, C]; 0 where nothing moves."""
    # The same value at every step may have a mean that is rounded, and so a spread of 1e-8: that is none.
    still = (x == x[:, :1]).all(dim=1, keepdim=True)
    return torch.where(still, torch.zeros((), dtype=x.dtype), x.std(dim=1, keepdim=True, correction=0))


def one_channel(x: Tensor, draws: Draws) -> Tensor:
    """A channel of each series, drawn: bool [N, 1, C]."""
    drawn = (draws.uniform("channel") * x.shape[2]).long().clamp(max=x.shape[2] - 1)
    return (torch.arange(x.shape[2]) == drawn[:, None])[:, None]


def spread_noise(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Noise of `level` times the channel's own standard deviation over this series' steps."""
    return x + level * spread(x) * draws.normal("noise", *x.shape[1:])


def spikes(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """A share `level` of readings is off by five standard deviations of the channel, up or down."""
    hit = draws.uniform("place", *x.shape[1:]) < level
    way = torch.where(draws.uniform("way", *x.shape[1:]) < 0.5, -SPIKE, SPIKE)
    return torch.where(hit, x + way * spread(x), x)


def baseline_drift(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Each channel's zero wanders slowly, by up to `level` times its own standard deviation."""
    return x + level * spread(x) * drift(draws, x.shape[1], x.shape[2])


def stuck_sensor(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """One channel freezes: for the last `level` of the steps it repeats what it said before."""
    first = x.shape[1] - round(level * x.shape[1])
    held = x[:, max(first - 1, 0), None]
    late = (torch.arange(x.shape[1]) >= first)[None, :, None]
    return torch.where(late & one_channel(x, draws), held, x)


def unit_error(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """One channel is recorded in another unit, or upside down: multiplied by `level`."""
    return torch.where(one_channel(x, draws), x * level, x)


def channel_swap(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Crosstalk between two channels up to their exchange: `level` of each is the other's; 1: miswired."""
    rank = draws.uniform("wires", x.shape[2]).argsort(dim=1)
    to = torch.arange(x.shape[2]).expand(len(x), -1).clone()
    to.scatter_(1, rank[:, :2], rank[:, :2].flip(1))
    return torch.lerp(x, x.gather(2, to[:, None].expand_as(x)), level)


def _two_channels(modality: Modality) -> str | None:
    assert isinstance(modality, Series)
    return None if len(modality.channels) > 1 else "a series of one channel has none to take it for"


row = rows("series", OURS)

TABLE: tuple[Perturbation, ...] = (
    row(spread_noise, "noise", (0.1, 0.2, 0.4, 0.6, 1.0), MULTIBENCH),
    row(spikes, "noise", (0.01, 0.02, 0.04, 0.07, 0.1)),
    row(baseline_drift, "drift", (0.25, 0.5, 1.0, 1.5, 2.5)),
    row(stuck_sensor, "sensor", (0.2, 0.4, 0.6, 0.8, 1.0)),
    row(unit_error, "unit", OTHER_UNITS),
    row(channel_swap, "wiring", (0.2, 0.4, 0.6, 0.8, 1.0), fits=_two_channels),
    row(clock_skew, "timing", (0.01, 0.02, 0.05, 0.1, 0.2)),
    row(dropout, "loss", SHARES, MULTIBENCH),
    row(outage, "loss", SHARES, MULTIBENCH),
)
