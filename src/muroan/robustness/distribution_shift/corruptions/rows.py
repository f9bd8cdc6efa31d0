"""Evidence rows of one condition of the corruptions probe, from what came of it."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor

from muroan.clean import Clean
from muroan.interventions.perturbations import Perturbation
from muroan.model import Capability

NOTHING = "nothing"
"""The null change: values go the whole way, unchanged."""


@dataclass
class Outcomes:
    """What came of one condition, filled in chunk by chunk: logits [N, K], and whether the input changed [N].

    similarity, tries: [N] of the fidelity gate; NaN and 0 where there was none.
    """

    logits: Tensor
    changed: Tensor
    similarity: Tensor
    tries: Tensor

    @staticmethod
    def of(clean: Clean) -> Outcomes:
        """Those of the clean pass."""
        n = len(clean)
        return Outcomes(
            clean.logits.clone(),
            torch.zeros(n, dtype=torch.bool),
            torch.full((n,), torch.nan),
            torch.zeros(n, dtype=torch.int16),
        )


def rows(clean: Clean, m: str, p: Perturbation | None, severity: int, found: Outcomes) -> pl.DataFrame:
    """Narrow columns: an audit has a row for every sample and condition, a hundred times its samples."""
    name, n = NOTHING if p is None else p.name, len(clean)
    predicted = found.logits.argmax(dim=1)
    scores = Capability.SCORES in clean.model.model.capabilities
    sure = found.logits.double().softmax(dim=1).amax(dim=1)

    def always(value: str) -> pl.Series:
        return pl.Series([value], dtype=pl.Categorical).new_from_index(0, n)

    tries = pl.Series(found.tries.numpy(), dtype=pl.Int16)
    return clean.rows(
        f"{m}: {name} {severity}",
        modality=always(m),
        corruption=always(name),
        family=always("none" if p is None else p.family),
        severity=pl.Series([severity], dtype=pl.Int8).new_from_index(0, n),
        present=clean.batch.present.get(m, torch.ones(n, dtype=torch.bool)),
        changed=found.changed,
        predicted=predicted.int(),
        correct=predicted == clean.batch.targets,
        confidence=sure.float() if scores else pl.Series([None] * n, dtype=pl.Float32),
        similarity=pl.Series(found.similarity.numpy(), dtype=pl.Float32).fill_nan(None),
        tries=tries.set(tries == 0, None),
    )
