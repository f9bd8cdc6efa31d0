"""Samples worth showing: inputs as panels, pictures as pictures, words as words, of numbers the first few."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from muroan.batch import Batch
from muroan.clean import Clean
from muroan.finding import Panel
from muroan.modality import Value, take

LONGEST = 600
FEW = 8
"""Numbers of a row, or of a channel, that are written out."""
CHANNELS = 3
"""Channels of a series that are written out."""


@dataclass(frozen=True)
class Shown:
    """A sample worth showing, with the values to be stored as pictures: what becomes an `Exhibit`.

    panels: (panel, value): value is a picture tensor [C, H, W] for a panel of kind "image", else None. rank: lower is
    shown first.
    """

    sample: str
    title: str
    panels: list[tuple[Panel, Any]]
    caption: str = ""
    rank: float = 0.0


def panel(modality: str, kind: str, value: Any, note: str = "") -> tuple[Panel, Any]:
    """One input as a panel; kinds that cannot be looked at say so."""
    label = f"{modality}, {note}" if note else modality
    if kind == "image" and isinstance(value, Tensor):
        return Panel(label=label, kind="image", size=(int(value.shape[-2]), int(value.shape[-1]))), value
    if isinstance(value, str):
        return Panel(label=label, kind="text", text=value[:LONGEST]), None
    return Panel(label=label, kind="values", text=_numbers(kind, value)), None


def _numbers(kind: str, value: Any) -> str:
    """What can be said of numbers in a line or a few: how many, and the first of them, so that a change shows."""
    if isinstance(value, Tensor) and value.dim() == 1:
        return f"{len(value)} columns: {_first(value)}"
    if isinstance(value, Tensor) and kind == "series" and value.dim() == 2:
        steps, channels = value.shape
        every = max(1, steps // FEW)
        rows = [f"channel {c + 1}: {_first(value[::every, c])}" for c in range(min(channels, CHANNELS))]
        more = [f"and {channels - CHANNELS} more channels"] if channels > CHANNELS else []
        return "\n".join([f"{steps} steps, every {'one' if every == 1 else f'{every}th'}:", *rows, *more])
    return f"{kind}, not drawn"


def _first(values: Tensor) -> str:
    some = ", ".join(f"{v:.3g}" for v in values[:FEW].tolist())
    return some + (", …" if len(values) > FEW else "")


def panels(batch: Batch, i: int, changed: Mapping[str, tuple[str, Value]]) -> list[tuple[Panel, Any]]:
    """The i-th sample's inputs; for a modality in `changed` also its (note, batch of new values)."""
    out = []
    for m, values in batch.inputs.items():
        kind = batch.modalities[m].kind
        out.append(panel(m, kind, values[i]))
        if m in changed:
            note, new = changed[m]
            out.append(panel(m, kind, new[i], note))
    return out


def before_after(
    batch: Batch,
    i: int,
    title: str,
    changed: Mapping[str, tuple[str, Value]],
    *,
    caption: str = "",
    rank: float = 0.0,
) -> Shown:
    """The i-th sample as it was, and beside each input of `changed` what became of it.

    changed: modality -> (what was done, the new values: of all samples of the batch, or of this one alone).
    """
    new = {m: (note, values if len(values) == 1 else take(values, [i])) for m, (note, values) in changed.items()}
    return Shown(batch.ids[i], title, panels(batch.take([i]), 0, new), caption, rank)


def turned(clean: Clean, predicted: ArrayLike) -> tuple[int, str] | None:
    """The first sample by name that was right and is wrong now, and what to say of it; None where there is none."""
    now = torch.tensor(np.asarray(predicted))
    wrong = (clean.correct & (now != clean.batch.targets)).nonzero().flatten().tolist()
    if not wrong:
        return None
    i = min(wrong, key=lambda j: clean.batch.ids[j])
    before, after = (clean.model.classes[int(said[i])] for said in (clean.predicted, now))
    return i, f"Right before; {after!r} instead of {before!r}."
