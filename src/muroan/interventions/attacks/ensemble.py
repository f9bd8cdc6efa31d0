"""Several attacks, each on what the ones before it left: how many answers stay right, whatever is tried.

In the spirit of AutoAttack (Croce & Hein, ICML 2020), whose standard version is APGD on cross-entropy, APGD towards
nine targets, FAB towards nine targets and Square, with 100 steps and 5,000 queries. FAB, which looks for the nearest
point rather than the worst within a radius, is left out here; words, which AutoAttack does not know, come in.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from muroan.attack import Attack, Attacked
from muroan.batch import Batch
from muroan.budget import Budgets, movable, worded
from muroan.interventions.attacks.apgd import APGD, APGDTargeted
from muroan.interventions.attacks.losses import loss_of
from muroan.interventions.attacks.square import Square
from muroan.interventions.attacks.word_substitution import WordSubstitution
from muroan.interventions.attacks.worst import Seen, Worst
from muroan.meter import Metered
from muroan.modality import copy, put, take
from muroan.model import Capability
from muroan.registry import register

BESIDE = "apgd beside words"
MEMBERS = ("apgd", "apgd_targeted", "square", "word_substitution", BESIDE)
"""In the order in which they attack; `trace` speaks of them by their places here."""
GRADIENT = ("apgd", "apgd_targeted")


@register
@dataclass(frozen=True, kw_only=True)
class Ensemble(Attack):
    """APGD, targeted APGD, Square, words replaced, and APGD once more beside the replaced words.

    A sample that one member turns is not attacked by the others, so the ensemble turns whatever one of them would. A
    member that the model or the budgets have no use for is left out: those by gradients where there are none, Square in
    an L2 ball, words where no text has a budget. The result of a sample that none turns is the point of highest loss.

    `trace`: member [N], the place in `MEMBERS` of the one that succeeded (−1: none); passes [N, members]: forward and
    backward passes that each spent on the sample (words: the mean over the samples that they attacked).

    steps: of every APGD. targets: of targeted APGD. queries: of Square. The defaults are a quick look; AutoAttack's are
    Ensemble(steps=100, targets=9, queries=5000).
    """

    name = "ensemble"
    source = "Croce & Hein, ICML 2020 (AutoAttack), without FAB, with words"
    needs = frozenset({Capability.SCORES})

    steps: int = 50
    targets: int = 3
    queries: int = 500

    def __post_init__(self) -> None:
        self.members()

    def members(self) -> dict[str, Attack]:
        """The attacks by name."""
        return {
            "apgd": APGD(steps=self.steps),
            "apgd_targeted": APGDTargeted(steps=self.steps, targets=self.targets),
            "square": Square(queries=self.queries),
            "word_substitution": WordSubstitution(),
            BESIDE: APGD(steps=self.steps),
        }

    def most(self, classes: int) -> int:
        """Passes that the members by gradients and Square spend on a sample that none of them turns."""
        climb = 2 * self.steps + 1
        return climb * (1 + min(self.targets, classes - 1)) + self.queries

    def run(self, model: Metered, batch: Batch, budgets: Budgets, *, seed: int = 0) -> Attacked:
        model.require(*self.needs)
        moving, words = movable(model.modalities, budgets), worded(model.modalities, budgets)
        logits = model.of(batch)
        labels, passes = logits.argmax(dim=1), torch.zeros(len(batch), len(MEMBERS), dtype=torch.double)
        worst = Worst.at(batch, [*moving, *words], loss_of(logits, labels), logits)
        members, beside = self.members(), {m: copy(batch.inputs[m]) for m in words}
        for name in _useful(model, moving, words):
            left, k = worst.left, MEMBERS.index(name)
            if not len(left):
                break
            some = batch.take(left)
            if name == BESIDE:
                some = some.with_inputs(**{m: take(v, left) for m, v in beside.items()})
            before = model.meter.passes
            done = members[name].run(model, some, words if name == "word_substitution" else moving, seed=seed)
            passes[left, k] += _spent(done, model.meter.passes - before)
            # Against the decisions on the samples themselves, not on what the member began with.
            turned = done.logits.argmax(dim=1) != labels[left]
            worst.keep(k, left, done.batch.inputs, Seen(loss_of(done.logits, labels[left]), turned, done.logits))
            if name == "word_substitution":
                for m, value in beside.items():
                    put(value, left, done.batch.inputs[m])
        return worst.attacked({"member": worst.steps, "passes": passes})


def _useful(model: Metered, moving: Budgets, words: Budgets) -> list[str]:
    """The members that have something to do here."""
    climbs = bool(moving) and Capability.GRADIENTS in model.model.capabilities
    does = {
        **dict.fromkeys(GRADIENT, climbs),
        "square": bool(moving) and all(b.norm == "inf" for b in moving.values()),
        "word_substitution": bool(words),
        BESIDE: climbs and bool(words),
    }
    return [name for name in MEMBERS if does[name]]


def _spent(done: Attacked, total: int) -> Tensor:
    """Passes a sample, [R]: as its own trace counts them, else the mean."""
    for name in ("passes", "queries"):
        if name in done.trace:
            return done.trace[name].double()
    return torch.full((len(done.batch),), total / max(1, len(done.batch)), dtype=torch.double)
