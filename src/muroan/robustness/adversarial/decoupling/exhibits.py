"""What decoupling looks like: a sample with what was removed from it marked, and as the model saw it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from muroan.finding import Panel
from muroan.interventions.attacks.removal import Removal, lengths, share
from muroan.interventions.attacks.subsets import Found
from muroan.panels import LONGEST, Shown, panel

SURE = 0.9
"""Confidence from which an exhibit calls an answer sure."""


def shown(removal: Removal, found: Mapping[str, Found]) -> list[Shown]:
    """The smallest removal that changed a sure answer: from all inputs, and from a picture alone."""
    pictures = [f" {m}" for m, kind in removal.modalities.items() if kind.axes > 1]
    chosen: list[Shown] = []
    for scope in ["", *pictures]:
        smallest = _smallest(removal, found[scope], {s.sample for s in chosen}) if scope in found else None
        chosen += [smallest] if smallest else []
    return sorted(chosen, key=lambda s: s.rank)[:2]


def _smallest(removal: Removal, found: Found, taken: set[str]) -> Shown | None:
    clean, ids, names = removal.clean, removal.clean.batch.ids, removal.clean.model.classes
    own = {m: share(n, removal.points[m]).tolist() for m, n in found.removed.items()}
    confidence = clean.probabilities.amax(dim=1).tolist()

    def rank(i: int) -> float:
        # Answers that were in doubt anyway come last; a part of one input is comparable, a part of all is not.
        return float(max(shares[i] for shares in own.values()) + (confidence[i] < SURE))

    hits = [i for i in found.success.nonzero().flatten().tolist() if ids[i] not in taken]
    if not hits:
        return None
    i = min(hits, key=lambda i: (rank(i), ids[i]))
    boxes = {m: b[i : i + 1] for m, b in found.boxes.items()}
    before, truth = names[int(clean.predicted[i])], names[int(clean.batch.targets[i])]
    after = names[int(removal.ask(torch.tensor([i]), boxes)[0])]
    panels: list[tuple[Panel, Any]] = []
    gone = []
    for m, modality in removal.modalities.items():
        b = boxes[m][0] if m in boxes else torch.zeros(0, 2, dtype=torch.long)
        panels.extend(_panels(removal, m, i, b[lengths(b) > 0]))
        if m in found.removed and (n := int(found.removed[m][i])):
            gone.append(f"{n} of the {m}'s {int(removal.points[m][i])} {modality.point}s")
    return Shown(
        sample=ids[i],
        title=f"{before} becomes {after} without {' and '.join(gone)}",
        panels=panels,
        caption=f"Answered {before} with {confidence[i]:.0%} confidence, labelled {truth}; with the "
        f"marked parts removed, {after}.",
        rank=rank(i),
    )


def _panels(removal: Removal, m: str, i: int, gone: Tensor) -> list[tuple[Panel, Any]]:
    """One input with what was removed from it marked, and, for a picture, the same as the model saw it."""
    modality, value = removal.modalities[m], removal.clean.batch.inputs[m][i]
    plain, drawn = panel(m, modality.kind, value)
    if modality.kind == "image":
        boxes = [tuple(box) for box in gone.tolist()]
        marked = [(plain.model_copy(update={"boxes": boxes}), drawn)]
        if boxes:
            seen = modality.erase(value[None], modality.cover(value[None], gone[None]))[0]
            marked.append(panel(m, modality.kind, seen, "as attacked"))
        return marked
    if modality.kind == "text":
        return [(plain.model_copy(update={"marked": [start for start, _ in gone.tolist()]}), None)]
    of, columns = int(removal.points[m][i]), getattr(modality, "columns", None)
    pieces = [f"{start + 1}" if n == 1 else f"{start + 1} to {start + n}" for start, n in gone.tolist()]
    if columns is not None:
        pieces = [columns[start] for start, _ in gone.tolist()]
    text = f"{modality.point}s removed: {', '.join(pieces)} (of {of})" if pieces else f"all {of} {modality.point}s kept"
    return [(Panel(label=m, kind="values", text=text[:LONGEST]), None)]
