"""Data that are already in memory: arrays and lists of strings, as notebooks and tests have them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from muroan.batch import Schema
from muroan.dataset import Dataset, Sample
from muroan.errors import AskedWrongly
from muroan.modality import Modality


class InMemory(Dataset):
    """inputs[m]: N values of modality m (an array or tensor [N, ...], or a list of strings; None: missing).

    targets: N class names or indices. groups[g]: N strings. clusters: N names, equal for dependent samples.
    keys[m]: N integers, equal where values are equal, so that they are encoded once. ids: distinct names.

        data = InMemory(
            {"image": pictures, "question": texts},
            targets=labels,
            modalities={"image": muroan.Image(size=(64, 64)), "question": muroan.Text()},
            classes=["no", "yes"],
        )
    """

    def __init__(
        self,
        inputs: Mapping[str, Any],
        *,
        targets: Sequence[Any] | Any,
        modalities: Mapping[str, Modality],
        classes: Sequence[str],
        groups: Mapping[str, Sequence[str]] | None = None,
        clusters: Sequence[Any] | None = None,
        keys: Mapping[str, Sequence[int]] | None = None,
        ids: Sequence[str] | None = None,
        name: str = "data",
    ) -> None:
        self.name = name
        self._inputs, self._groups = dict(inputs), dict(groups or {})
        self._targets = [t if isinstance(t, str) else int(t) for t in targets]
        self._clusters, self._keys = clusters, dict(keys or {})
        n = len(self._targets)
        self.ids = [str(i) for i in ids] if ids is not None else [str(i) for i in range(n)]
        if set(self._inputs) != set(modalities):
            raise AskedWrongly(f"inputs are {sorted(self._inputs)}, modalities are {sorted(modalities)}")
        columns = {**self._inputs, **self._groups, **self._keys, "ids": self.ids}
        if clusters is not None:
            columns["clusters"] = clusters
        for what, column in columns.items():
            if len(column) != n:
                raise AskedWrongly(f"{what!r} has {len(column)} entries for {n} targets")
        if len(set(self.ids)) != n:
            raise AskedWrongly("ids are not distinct")
        self.schema = Schema(
            modalities=dict(modalities),
            classes=tuple(classes),
            groups={g: tuple(sorted({str(v) for v in column} - {""})) for g, column in self._groups.items()},
            cluster=None if clusters is None else "cluster",
        )

    def sample(self, i: int) -> Sample:
        return Sample(
            inputs={m: column[i] for m, column in self._inputs.items()},
            target=self._targets[i],
            groups={g: str(column[i]) for g, column in self._groups.items()},
            cluster=None if self._clusters is None else str(self._clusters[i]),
            keys={m: int(column[i]) for m, column in self._keys.items()},
        )

    def clusters(self) -> list[str]:
        return list(self.ids) if self._clusters is None else [str(c) for c in self._clusters]

    def fingerprint(self) -> str:
        digest = hashlib.blake2b("\n".join(self.ids).encode(), digest_size=12)
        digest.update(repr(self._targets).encode())
        for m, column in sorted(self._inputs.items()):
            if isinstance(column, torch.Tensor):
                column = column.detach().cpu().numpy()
            raw = column.tobytes() if isinstance(column, np.ndarray) else repr(list(column)).encode()
            digest.update(m.encode() + raw)
        return f"{self.name}:{len(self)}:{digest.hexdigest()}"
