"""Perturbations of sound, float [N, T] in [-1, 1]: noise, overload, rooms, lines and clocks.

White noise and loss are MultiBench's kinds (NeurIPS 2021 datasets and benchmarks); all constants are Muroan's own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from muroan.interventions.perturbations.base import Draws, Perturbation, rows
from muroan.interventions.perturbations.signal import MULTIBENCH, OURS, SHARES, clock_skew, drift, dropout, outage
from muroan.modality import Audio, Modality

DECIBELS = (30, 20, 10, 5, 0)
"""How far below the sound's own mean power a disturbance is at severity 1..5."""
PACKET = 0.02
"""Seconds of sound in a packet."""
BURST = 3
"""Packets over which losses go together."""


def loudness(x: Tensor) -> Tensor:
    """Root of the mean power [N, 1]."""
    return x.square().mean(dim=1, keepdim=True).sqrt()


def white_noise(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Noise `level` decibels below the sound's own mean power; silence stays silent."""
    noisy = x + loudness(x) * 10 ** (-level / 20) * draws.normal("noise", x.shape[1])
    return noisy.clamp(modality.low, modality.high)


def mains_hum(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """The mains at 50 or 60 Hz (a draw) with two overtones, `level` decibels below the sound's own mean power."""
    assert isinstance(modality, Audio)
    base = torch.where(draws.uniform("mains") < 0.5, 50.0, 60.0).double()[:, None]
    seconds = torch.arange(x.shape[1], dtype=torch.float64) / modality.rate
    phase = draws.uniform("phase", 3).double()
    hum = torch.zeros(x.shape, dtype=torch.float64)
    for k in (1, 2, 3):
        heard = (k * base < modality.rate / 2).double()  # an overtone above half the rate would fold down
        hum += heard / k * torch.sin(2 * math.pi * (k * base * seconds + phase[:, k - 1 : k]))
    unit = (hum / hum.square().mean(dim=1, keepdim=True).sqrt().clamp_min(1e-9)).to(x.dtype)
    return (x + loudness(x) * 10 ** (-level / 20) * unit).clamp(modality.low, modality.high)


def clipping(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Everything beyond `level` of the sound's own peak cut off: an overdriven microphone."""
    peak = x.abs().amax(dim=1, keepdim=True) * level
    return torch.minimum(torch.maximum(x, -peak), peak)


def gain_drift(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Gain that wanders slowly by up to `level` decibels either way; what gets too loud is cut off."""
    return (x * 10 ** (level / 20 * drift(draws, x.shape[1]))).clamp(modality.low, modality.high)


def reverberation(x: Tensor, level: tuple[float, float], draws: Draws, modality: Modality, scale: float) -> Tensor:
    """A room: the sound and its echo, noise that falls by 60 dB in `level[0]` seconds.

    The echo's power is `level[1]` decibels below that of the sound itself.
    """
    assert isinstance(modality, Audio)
    seconds, below = level
    n = x.shape[1]
    at = torch.arange(n, dtype=torch.float64) / modality.rate
    impulse = draws.normal("room", n).double() * 10 ** (-3 * at / seconds)
    impulse[:, 0] = 0
    size = 2 * n
    tail: Tensor = torch.fft.irfft(torch.fft.rfft(x.double(), size) * torch.fft.rfft(impulse, size), size)[:, :n].to(
        x.dtype
    )
    wanted = loudness(x) * 10 ** (-below / 20)
    return (x + tail * wanted / loudness(tail).clamp_min(1e-9)).clamp(modality.low, modality.high)


def packet_loss(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """A share `level` of packets of 20 ms lost on average, in bursts; a lost packet is silent.

    A packet is lost where a random curve that changes over a few packets is low, so that a higher share loses the
    same packets and more.
    """
    assert isinstance(modality, Audio)
    packet = max(1, round(PACKET * modality.rate))
    count = -(-x.shape[1] // packet)
    # The mean of BURST neighbours, scaled to variance 1.
    curve = draws.normal("line", count + BURST - 1).unfold(1, BURST, 1).sum(dim=2) / math.sqrt(BURST)
    lost = (torch.special.ndtr(curve) < level).repeat_interleave(packet, dim=1)[:, : x.shape[1]]
    return torch.where(lost, torch.zeros((), dtype=x.dtype), x)


def narrow_band(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Only what is below `level` of half the sampling rate passes: a telephone line (Butterworth, order 4, no delay).

    The sound is mirrored at its ends, so that the filter sees no jump there.
    """
    n = x.shape[1]
    spectrum = torch.fft.rfft(torch.cat([x, x.flip(1)], dim=1).double())
    at = torch.arange(n + 1, dtype=torch.float64) / n
    passed: Tensor = torch.fft.irfft(spectrum * (1 + (at / level) ** 8).rsqrt(), 2 * n)[:, :n]
    return passed.to(x.dtype).clamp(modality.low, modality.high)


def _mains_fit(modality: Modality) -> str | None:
    assert isinstance(modality, Audio)
    return None if modality.rate > 120 else "a sound of at most 120 samples a second cannot hold a hum of 60 Hz"


row = rows("audio", OURS)

TABLE: tuple[Perturbation, ...] = (
    row(white_noise, "noise", DECIBELS, MULTIBENCH),
    row(mains_hum, "noise", DECIBELS, fits=_mains_fit),
    row(clipping, "overload", (0.6, 0.4, 0.25, 0.15, 0.08)),
    row(gain_drift, "drift", (3, 6, 9, 12, 18)),
    row(reverberation, "room", ((0.2, 12), (0.4, 9), (0.7, 6), (1.0, 3), (1.5, 0))),
    row(narrow_band, "band", (0.5, 0.35, 0.25, 0.15, 0.1)),
    row(clock_skew, "timing", (0.001, 0.005, 0.01, 0.02, 0.05)),
    row(packet_loss, "loss", SHARES),
    row(dropout, "loss", SHARES, MULTIBENCH),
    row(outage, "loss", SHARES, MULTIBENCH),
)
