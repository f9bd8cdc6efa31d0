"""Salient points: the small parts of an input whose removal moves the decision most.

One search serves attack and defence: the parts that `Decoupling` takes for its candidates, in the order in which it
tries them. Source: the name stands in the authors' account of MUROAN (arXiv 2112.12792), which names the removal of
salient points as a direction for defences; what exactly is salient is our reading of the attack.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from muroan.interventions.attacks.decoupling import Decoupling
from muroan.interventions.attacks.grouped import distinct, ordered
from muroan.interventions.attacks.removal import Removal
from muroan.interventions.attacks.subsets import Parts


def salient_points(
    removal: Removal, among: Sequence[str] | None = None, *, search: Decoupling | None = None
) -> dict[str, Tensor]:
    """m -> boxes [N, 1, 2·axes]: of each modality and sample the most salient part (a box of length 0: it has none).

    Of the parts that decouple (the decision loses a share of its lead, as the search's test says) the smallest, among
    equals the one that costs most lead; where none does, the one that costs most. A search with the test "cosine"
    looks at the fused code instead. among: modalities, all if None.
    """
    search = search or Decoupling()
    names = list(removal.modalities if among is None else among)
    parts = search.parts(removal, torch.ones(len(removal.clean), dtype=torch.bool), names)
    return {m: _first(p, len(removal.clean)) for m, p in parts.items()}


def _first(parts: Parts, n: int) -> Tensor:
    """The part [N, 1, 2·axes] that comes first of each sample's."""
    size = torch.where(parts.decouples, parts.points.double(), torch.inf)
    # Rounded as the attack does, so that equal parts keep their order whatever else is in the batch.
    order = ordered(parts.sample, size, -torch.round(parts.drop.double(), decimals=4))
    row = order[distinct(parts.sample[order])[0]]
    boxes = torch.zeros(n, 1, parts.box.shape[1], dtype=torch.long)
    boxes[parts.sample[row], 0] = parts.box[row]
    return boxes
