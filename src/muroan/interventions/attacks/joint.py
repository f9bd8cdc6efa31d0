"""Several inputs attacked together, whatever they are: continuous ones by gradients, texts by other words.

Source: the survey's equation 1. One gradient moves all continuous inputs but no words, so where there are both, one of
them comes first, and the other is attacked in its presence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from muroan.attack import Attack, Attacked
from muroan.batch import Batch
from muroan.budget import Budgets, movable, worded
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.apgd import APGD
from muroan.interventions.attacks.controls import random_words
from muroan.interventions.attacks.fgsm import FGSM
from muroan.interventions.attacks.gradient_attack import GradientAttack
from muroan.interventions.attacks.mim import MIM
from muroan.interventions.attacks.pgd import PGD
from muroan.interventions.attacks.results import bettered, either, placed, rows
from muroan.interventions.attacks.word_substitution import WordSubstitution
from muroan.meter import Metered
from muroan.modality import put
from muroan.model import Capability
from muroan.randomness import sample_keys
from muroan.registry import register

Ascent = Literal["pgd", "apgd", "mim", "fgsm"]
Order = Literal["both", "words first", "words last"]
ASCENTS: Mapping[str, type[GradientAttack]] = {"pgd": PGD, "apgd": APGD, "mim": MIM, "fgsm": FGSM}


@register
@dataclass(frozen=True, kw_only=True)
class Joint(Attack):
    """Continuous inputs move together under one gradient, words are replaced, each in the other's presence.

    With texts and continuous inputs there are two orders: words last replaces words beside the moved inputs, words
    first moves inputs under the replaced words. "both" tries either and keeps whatever succeeds. What one kind of input
    alone has turned is not attacked any further. Where no replacement hurts by itself, words first takes a random one:
    a word that does nothing alone may open the way for the rest.

    ascent: how continuous inputs are moved. steps, restarts: of it; 0: as many as it takes by itself. fgsm takes one
    step from one start, whatever these say. order: of words and the rest.
    """

    name = "joint"
    source = "survey equation 1; Tian & Xu, CVPR 2021; both orders with text: chosen here"
    needs = frozenset({Capability.SCORES, Capability.GRADIENTS})

    ascent: Ascent = "pgd"
    steps: int = 0
    restarts: int = 0
    order: Order = "both"

    def __post_init__(self) -> None:
        if self.ascent not in ASCENTS:
            raise AskedWrongly(f"continuous inputs are moved by {', '.join(ASCENTS)}, not {self.ascent!r}")
        if self.order not in get_args(Order):
            raise AskedWrongly(f"the order is {', '.join(get_args(Order))}, not {self.order!r}")
        self.climb()

    def climb(self) -> GradientAttack:
        """The attack on continuous inputs."""
        attack = ASCENTS[self.ascent]()
        if self.ascent == "fgsm":
            return attack
        return replace(attack, steps=self.steps or attack.steps, restarts=self.restarts or attack.restarts)

    def run(self, model: Metered, batch: Batch, budgets: Budgets, *, seed: int = 0) -> Attacked:
        model.require(*self.needs)
        texts, rest = worded(model.modalities, budgets), movable(model.modalities, budgets)
        if not texts or not len(batch):
            return self.climb().run(model, batch, rest, seed=seed)
        if not rest:
            return WordSubstitution().run(model, batch, texts, seed=seed)
        words = WordSubstitution()
        if self.order == "words first":
            return self._words_first(model, batch, texts, rest, words.run(model, batch, texts, seed=seed), seed)
        last = self.words_last(model, texts, self.climb().run(model, batch, rest, seed=seed), seed=seed)
        if self.order == "words last":
            return last
        spoken = words.run(model, batch, texts, seed=seed)
        done = either([last], spoken)
        left = (~done.success).nonzero().flatten()
        if not len(left):
            return done
        first = self._words_first(model, batch.take(left), texts, rest, rows(spoken, left), seed)
        return bettered(done, first, left, model.of(batch.take(left)).argmax(dim=1))

    def words_last(self, model: Metered, texts: Budgets, moved: Attacked, *, seed: int) -> Attacked:
        """Words replaced beside inputs that were moved before, where that was not enough."""
        left = (~moved.success).nonzero().flatten()
        if not len(left):
            return moved
        return placed(moved, WordSubstitution().run(model, moved.batch.take(left), texts, seed=seed), left)

    def _words_first(
        self, model: Metered, batch: Batch, texts: Budgets, rest: Budgets, spoken: Attacked, seed: int
    ) -> Attacked:
        left = (~spoken.success).nonzero().flatten()
        if not len(left):
            return spoken
        under = opened(batch.take(left), rows(spoken, left).batch, texts, seed=seed)
        return placed(spoken, self.climb().run(model, under, rest, seed=seed), left)


def opened(batch: Batch, spoken: Batch, texts: Budgets, *, seed: int) -> Batch:
    """The samples with the texts of `spoken`; those that no replacement made worse get a random one instead."""
    said = {}
    for m, b in texts.items():
        before, after = batch.inputs[m], list(spoken.inputs[m])
        still = torch.tensor([i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old == new]).long()
        some = batch.take(still)
        keys = sample_keys(some.ids, seed, "joint", "opened", m)
        # A text that the sample does not have stays as it is.
        put(after, still, some.if_there(m, random_words(some.inputs[m], batch.modalities[m], b.words, keys)))
        said[m] = after
    return batch.with_inputs(**said)
