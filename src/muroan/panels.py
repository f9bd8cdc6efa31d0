"""A sample's inputs as the panels of an exhibit: pictures as pictures, words as words, what cannot be drawn named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from muroan.batch import Batch
from muroan.finding import Panel
from muroan.modality import Value

LONGEST = 600


def panel(modality: str, kind: str, value: Any, note: str = "") -> tuple[Panel, Any]:
    """One input as a panel; kinds that cannot be looked at say so."""
    label = f"{modality}, {note}" if note else modality
    if kind == "image" and isinstance(value, Tensor):
        return Panel(label=label, kind="image", size=(int(value.shape[-2]), int(value.shape[-1]))), value
    if isinstance(value, str):
        return Panel(label=label, kind="text", text=value[:LONGEST]), None
    return Panel(label=label, kind="values", text=f"{kind}, not drawn"), None


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
