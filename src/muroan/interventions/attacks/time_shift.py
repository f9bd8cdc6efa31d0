"""Misalignment in time: one stream shifted against the others by the offset that does most harm.

Every offset within the budget is tried, both ways, the smallest first: what is found is the worst there is, and the
smallest offset that turns a decision. Source: the misalignment attack of Zhang et al., ICLR 2025 (arXiv 2502.11858), by
its abstract; their temporal-invariance attack and their curriculum are not here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from muroan.attack import Attack, Attacked
from muroan.batch import Batch
from muroan.budget import Budgets
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.worst import Seen, Worst
from muroan.interventions.perturbations.signal import shifted
from muroan.meter import Metered

KINDS = ("audio", "series")
"""Kinds of input that have a time."""


@dataclass(frozen=True, kw_only=True)
class TimeShift(Attack):
    """`Budget.share` is the largest offset, as a share of the length: that much of a stream leaves at one end, and at
    the other what stands there is held. Streams are shifted one at a time, those of a sample already turned no more.

    tries: offsets in each direction, evenly spaced up to the largest; 0 for every one. Not registered: the world that
    registered attacks are held to their promises in has no streams; its tests are its own.
    """

    name = "time_shift"
    source = "Zhang et al., ICLR 2025 (arXiv 2502.11858), the misalignment attack, by its abstract"

    tries: int = 0

    def __post_init__(self) -> None:
        if self.tries < 0:
            raise AskedWrongly(f"tries is {self.tries}; it is a number of offsets, 0 for all")

    def offsets(self, length: int, share: float) -> list[int]:
        """Offsets that are tried, the smallest first."""
        most = int(share * length + 1e-9)
        few = min(self.tries, most) or most
        sizes = sorted({round(most * k / few) for k in range(1, few + 1)}) if most else []
        return [sign * k for k in sizes for sign in (1, -1)]

    def run(self, model: Metered, batch: Batch, budgets: Budgets, *, seed: int = 0) -> Attacked:
        logits = model.of(batch)
        labels, flat = logits.argmax(dim=1), torch.zeros(len(batch))
        inputs = [m for m in budgets if m in model.modalities and batch.modalities[m].kind in KINDS]
        worst = Worst.at(batch, inputs, flat, logits)
        for m in inputs:
            here = batch.present.get(m, flat == 0)
            for offset in self.offsets(batch.inputs[m].shape[1], budgets[m].share):
                at = worst.left[here[worst.left]]
                if not len(at):
                    break
                some = batch.take(at)
                some = some.with_inputs(**{m: shifted(some.inputs[m], offset)})
                found = model.of(some)
                # Nothing is kept but what turns a decision.
                worst.keep(abs(offset), at, some.inputs, Seen(flat[at], found.argmax(dim=1) != labels[at], found))
        return worst.attacked({})
