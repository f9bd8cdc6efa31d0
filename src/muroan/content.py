"""Values told apart by what they hold.

Rows with an equal value (ten questions on one picture) get the same random change and are encoded once, also where
a data set does not say that they are equal. A digest of the contents depends on the value alone, so the change is
the same in any batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from muroan.modality import Value, take


def digests(values: Value) -> list[str]:
    """One digest per value [N]: of its bytes, or of its characters."""
    if isinstance(values, Tensor):
        rows = values.detach().contiguous().numpy()
        return [hashlib.blake2b(row.tobytes(), digest_size=12).hexdigest() for row in rows]
    return [hashlib.blake2b(str(v).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest() for v in values]


def distinct(values: Value) -> tuple[Value, Tensor, list[str]]:
    """(the distinct values, the number of each row's own [N], the digests of the distinct ones)."""
    places: dict[str, int] = {}
    index = [places.setdefault(d, len(places)) for d in digests(values)]
    first: dict[int, int] = {}
    for row, place in enumerate(index):
        first.setdefault(place, row)
    kept = take(values, list(first.values())) if len(first) < len(index) else values
    return kept, torch.tensor(index, dtype=torch.long), list(places)


def distinct_texts(texts: Sequence[str]) -> tuple[list[str], Tensor]:
    """(each text once, in order; which of these is each row's, long [N])."""
    once = list(dict.fromkeys(texts))
    place = {t: k for k, t in enumerate(once)}
    return once, torch.tensor([place[t] for t in texts], dtype=torch.long)
