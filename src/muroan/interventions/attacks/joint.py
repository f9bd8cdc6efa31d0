"""Several inputs attacked together, whatever they are: continuous ones by gradients, texts by other words.

Source: the survey's equation 1. One gradient moves all continuous inputs but no words, so where there are both, one of
them comes first, and the other is attacked in its presence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from muroan.attack import Attack, Attacked
from muroan.batch import Batch
from muroan.budget import Budget, Budgets
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.apgd import APGD
from muroan.interventions.attacks.controls import random_words
from muroan.interventions.attacks.fgsm import FGSM
from muroan.interventions.attacks.gradient_attack import GradientAttack
from muroan.interventions.attacks.losses import loss_of
from muroan.interventions.attacks.mim import MIM
from muroan.interventions.attacks.pgd import PGD
from muroan.interventions.attacks.word_substitution import WordSubstitution
from muroan.meter import Metered
from muroan.modality import Text, where
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
        texts, rest = kinds(batch, {m: b for m, b in budgets.items() if m in model.modalities})
        if not texts or not len(batch):
            return self.climb().run(model, batch, rest, seed=seed)
        if not rest:
            return WordSubstitution().run(model, batch, texts, seed=seed)
        moved = self.climb().run(model, batch, rest, seed=seed)
        if self.order == "words last":
            return self.words_last(model, texts, moved, seed=seed)
        spoken = WordSubstitution().run(model, batch, texts, seed=seed)
        if self.order == "words first":
            return self._words_first(model, batch, texts, rest, spoken, seed)
        last = self.words_last(model, texts, moved, seed=seed)
        done = either([last], spoken)
        left = (~done.success).nonzero().flatten()
        if not len(left):
            return done
        first = self._words_first(model, batch.take(left), texts, rest, rows(spoken, left), seed)
        return placed(done, worst([first, rows(done, left)], model.of(batch.take(left)).argmax(dim=1)), left)

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
    said: dict[str, list[str]] = {}
    for m, b in texts.items():
        modality = batch.modalities[m]
        assert isinstance(modality, Text)
        before, after = batch.inputs[m], spoken.inputs[m]
        still = [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old == new]
        keys = sample_keys([batch.ids[i] for i in still], seed, "joint", "opened", m)
        guessed = random_words([before[i] for i in still], modality, b.words, keys)
        said[m] = list(after)
        for i, text in zip(still, guessed, strict=True):
            # A text that the sample does not have stays as it is.
            said[m][i] = text if m not in batch.present or bool(batch.present[m][i]) else after[i]
    return batch.with_inputs(**said)


def kinds(batch: Batch, budgets: Budgets) -> tuple[dict[str, Budget], dict[str, Budget]]:
    """(texts whose words may be replaced, continuous inputs that may be moved)."""
    texts = {m: b for m, b in budgets.items() if b.words and isinstance(batch.modalities[m], Text)}
    rest = {m: b for m, b in budgets.items() if b.radius > 0 and batch.modalities[m].continuous}
    return texts, rest


# Results of several attacks on the same samples, put together. Traces are left to those who know what they mean.


def nothing(model: Metered, batch: Batch) -> Attacked:
    """The null change: the samples themselves, put to the model again."""
    logits = model.of(batch) if len(batch) else torch.zeros(0, len(model.classes))
    return Attacked(batch, torch.zeros(len(batch), dtype=torch.bool), logits)


def rows(done: Attacked, index: Tensor) -> Attacked:
    """The results of the samples at `index`."""
    trace = {k: v[index] for k, v in done.trace.items()}
    return Attacked(done.batch.take(index), done.success[index], done.logits[index], trace)


def chosen(take: Tensor, one: Attacked, other: Attacked) -> Attacked:
    """Per sample the first result where `take` [N], else the second."""
    inputs = {
        m: where(take, one.batch.inputs[m], v) for m, v in other.batch.inputs.items() if v is not one.batch.inputs[m]
    }
    logits = torch.where(take[:, None], one.logits, other.logits)
    return Attacked(other.batch.with_inputs(**inputs), torch.where(take, one.success, other.success), logits)


def either(others: Sequence[Attacked], last: Attacked) -> Attacked:
    """Per sample the first of several attacks that succeeded, else the last one."""
    for other in reversed(others):
        last = chosen(other.success, other, last)
    return last


def worst(results: Sequence[Attacked], labels: Tensor) -> Attacked:
    """Per sample the first result that succeeded, else the one whose loss of `labels` [N] is highest."""
    best = results[0]
    for other in results[1:]:
        higher = loss_of(other.logits, labels) > loss_of(best.logits, labels)
        best = chosen(~best.success & (other.success | higher), other, best)
    return best


def placed(base: Attacked, some: Attacked, index: Tensor) -> Attacked:
    """`base` with the samples at `index` replaced by those of `some`."""
    inputs = {}
    for m, v in base.batch.inputs.items():
        if m in base.batch.keys and m in some.batch.keys:
            continue  # known by their keys to be the samples' own in both
        if isinstance(v, Tensor):
            v = v.index_copy(0, index, some.batch.inputs[m])
        else:
            v = list(v)
            for k, i in enumerate(index.tolist()):
                v[i] = some.batch.inputs[m][k]
        inputs[m] = v
    success, logits = base.success.clone(), base.logits.clone()
    success[index], logits[index] = some.success, some.logits
    return Attacked(base.batch.with_inputs(**inputs), success, logits)
