"""Sounds as CLAP's feature extractor prepares them, in torch, so that gradients reach the wave."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.errors import AskedWrongly
from muroan.models.hf.folder import Folder, settings_of

FLOOR = 1e-10
"""Power below which the extractor counts −100 dB."""


class Sounds(nn.Module):
    """Waves [N, T] in [-1, 1] at `rate` samples a second -> log-mel spectra [N, C, frames, mels].

    Another rate than the model's is brought to it by the Fourier method (`scipy.signal.resample`). A short sound is
    repeated and padded as the extractor says. Of one that is longer than the model's window the beginning is used: the
    extractor draws a window at random instead (and, for models with fusion, three), and a score that depends on a draw
    could not be attacked or repeated. For the same reason no sound is marked as longer, which the extractor does to one
    of every batch at random.
    """

    filters: Tensor
    window: Tensor
    settings: Tensor

    def __init__(self, folder: Folder, rate: int | None = None) -> None:
        super().__init__()
        made: Any = folder.read("AutoFeatureExtractor")
        self.own_rate = int(made.sampling_rate)
        self.rate = rate or self.own_rate
        self.samples, self.hop, self.size = int(made.nb_max_samples), int(made.hop_length), int(made.fft_window_size)
        self.fusion = made.truncation == "fusion"
        if made.truncation not in ("fusion", "rand_trunc") or made.padding not in ("repeatpad", "repeat", "pad"):
            raise AskedWrongly(
                f"hf:{folder.name}: sounds are truncated by {made.truncation!r} and padded by {made.padding!r}, which "
                "is not understood"
            )
        self.padding = str(made.padding)
        bank = made.mel_filters if self.fusion else made.mel_filters_slaney
        self.register_buffer("filters", torch.as_tensor(bank, dtype=torch.float32))
        self.register_buffer("window", torch.hann_window(self.size))
        told = {"rate": self.rate, "own": self.own_rate, "samples": self.samples, "hop": self.hop}
        self.register_buffer("settings", settings_of(**told, fusion=self.fusion, padding=self.padding))

    def forward(self, x: Tensor) -> Tensor:
        if self.rate != self.own_rate:
            x = resampled(x, max(1, round(x.shape[1] * self.own_rate / self.rate)))
        x = self._fitted(x)
        spectrum = torch.stft(
            x, self.size, self.hop, window=self.window, center=True, pad_mode="reflect", return_complex=True
        )
        power = spectrum.real.square() + spectrum.imag.square()
        mel = (power.transpose(1, 2) @ self.filters).clamp_min(FLOOR)
        out = 10.0 * mel.log10()[:, None]
        return out.expand(-1, 4, -1, -1) if self.fusion else out

    def named(self, x: Tensor) -> dict[str, Tensor]:
        """The same as CLAP's network takes it, by name."""
        return {"input_features": self(x), "is_longer": torch.zeros(len(x), 1, dtype=torch.bool, device=x.device)}

    def _fitted(self, x: Tensor) -> Tensor:
        """The wave, `samples` long."""
        if self.padding != "pad" and x.shape[1] < self.samples:
            x = x.repeat(1, self.samples // x.shape[1] + (self.padding == "repeat"))
        x = x[:, : self.samples]
        return functional.pad(x, (0, self.samples - x.shape[1]))


def resampled(x: Tensor, length: int) -> Tensor:
    """Waves [N, T] with `length` samples over the same time, by cutting off or adding frequencies.

    The middle frequency of an even number of samples stands for two; it is shared or joined as scipy does.
    """
    old = x.shape[1]
    if old == length:
        return x
    spectrum = torch.fft.rfft(x)
    shorter = min(old, length)
    kept = spectrum[:, : shorter // 2 + 1]
    if shorter % 2 == 0:
        middle = kept[:, -1:] * (2.0 if length < old else 0.5)
        kept = torch.cat([kept[:, :-1], middle], dim=1)
    wanted = length // 2 + 1
    kept = functional.pad(kept, (0, wanted - kept.shape[1]))
    out: Tensor = torch.fft.irfft(kept, n=length) * (length / old)
    return out
