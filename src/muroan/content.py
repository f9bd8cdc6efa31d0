"""Values told apart by what they hold.

Rows with an equal value (ten questions on one picture) get the same random change and are encoded once, also where
a data set does not say that they are equal. A digest of the contents depends on the value alone, so the change is
the same in any batch.

Beside digests in letters, by which changes are drawn, there are keys of 128 bits, [N, 2] words, by which answers are
remembered. A key can also be told from the key of another value and what was done to it, without a look at the result.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from muroan.modality import Value, take
from muroan.randomness import Words, key, mixed


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


def keys_of(values: Value) -> Words:
    """A key per value [N, 2]: of its bytes, with their kind and shape, or of its characters."""
    if isinstance(values, Tensor):
        array = values.detach().contiguous().numpy()
        begun = hashlib.blake2b(f"{array.dtype} {array.shape[1:]}".encode(), digest_size=16)
        found = []
        for row in array.reshape(len(array), math.prod(array.shape[1:])):
            digest = begun.copy()
            digest.update(row.data)
            found.append(digest.digest())
    else:
        texts = [str(v).encode("utf-8", "surrogatepass") for v in values]
        found = [hashlib.blake2b(t, digest_size=16).digest() for t in texts]
    return np.frombuffer(b"".join(found), dtype="<u8").astype(np.uint64).reshape(-1, 2)


def keys_with(keys: Words, *purpose: object) -> Words:
    """Other keys [N, 2], one for each: of the same values in a certain place, or after a certain change."""
    salt = np.array([key(*purpose, lane) for lane in range(2)], dtype=np.uint64)
    return mixed(keys ^ salt)


def keys_without(keys: Words, boxes: Tensor) -> Words:
    """Keys [N, 2] of values without what some boxes hold; keys: of the values, boxes [N, R, 2·axes] (`Modality.cover`).

    The order of a value's boxes does not matter, nor do empty ones.
    """
    words = np.zeros((*boxes.shape[:2], 2), dtype=np.uint64)
    for column in boxes.numpy().astype(np.uint64).transpose(2, 0, 1):
        words = keys_with(words ^ column[..., None], "box")
    words[(boxes[..., boxes.shape[-1] // 2 :] == 0).any(dim=-1).numpy()] = 0
    removed: Words = words.sum(axis=1, dtype=np.uint64)
    return keys_with(keys, "without") + removed
