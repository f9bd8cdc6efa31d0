"""Model soups: the mean of several fine-tunings of one model, of all or of those that help."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from muroan.dataset import Splits
from muroan.errors import AskedWrongly
from muroan.mitigation import Fitting, Mitigated, load_state, members, state
from muroan.mitigations.fine_tuning import (
    Bench,
    Parts,
    erased,
    fine_tuning_loss,
    validation_loss,
)
from muroan.mitigations.weight_space import State, average
from muroan.model import Capability, Model
from muroan.randomness import key, sample_keys, uniform
from muroan.registry import register
from muroan.training import Loss, Trainer


@dataclass(frozen=True)
class Stirred:
    """A greedy soup. kept: which ingredients, in the order in which they came in; course: validation accuracy after
    each; tried: of each ingredient that was not kept, the accuracy that the soup would have had with it."""

    kept: tuple[int, ...]
    course: tuple[float, ...]
    tried: Mapping[int, float]


def greedy(states: Sequence[State], scores: Sequence[float], judged: Callable[[State], float]) -> Stirred:
    """Best first, each further one in the order of its score (of equals the earlier one) if the mean with it is judged
    strictly better than without."""
    order = sorted(range(len(states)), key=lambda k: (-scores[k], k))
    kept, course, tried = [order[0]], [scores[order[0]]], {}
    for k in order[1:]:
        score = judged(average([states[i] for i in (*kept, k)]))
        if score > course[-1]:
            kept.append(k)
            course.append(score)
        else:
            tried[k] = score
    return Stirred(tuple(kept), tuple(course), tried)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one ingredient is fine-tuned."""

    seed: int
    rate: float
    decay: float
    erased: float


@dataclass(frozen=True, kw_only=True)
class Soup(Fitting):
    """Settings of both. runs: fine-tunings of the given model, the first with the plain recipe; the others draw a rate
    between rate / spread and rate · spread, a weight decay up to `decay` and a share of points erased from inputs up to
    `erased` (augmentation of any kind of input), and all see the samples in another order. select: share of the members
    (by cluster) that is held out from all of them and tells what each and the soup are worth. Statistics of batch norms
    of a soup are estimated anew on the members.

    Nothing is promised of the model as it was given but that it is fine-tuned: what soups are for is to be better than
    the best of their ingredients, and that no audit of two models shows. A mean also lies nearer to the start than what
    it is the mean of, which alone helps where fine-tuning costs robustness (reproductions/r11.py; WiSE-FT does that).
    """

    place = "robustness/distribution_shift"
    source = "Wortsman et al., ICML 2022 (arXiv 2203.05482); what varies between runs: ours"
    needs = frozenset({Capability.SCORES, Capability.TRAIN})

    runs: int = 5
    spread: float = 3.0
    decay: float = 0.1
    erased: float = 0.2
    select: float = 0.2
    epochs: int = 8

    def __post_init__(self) -> None:
        if self.runs < 1 or self.spread < 1 or self.decay < 0 or not 0 <= self.erased < 1 or not 0 < self.select < 1:
            raise AskedWrongly(
                "a soup needs runs and spread of at least 1, decay of at least 0, erased and select between 0 and 1"
            )

    def recipes(self, seed: int) -> list[Recipe]:
        """What each run does, drawn from the seed."""
        drawn = uniform(sample_keys([str(k) for k in range(self.runs)], "soup", seed), 3).tolist()
        found = [Recipe(seed=seed, rate=self.rate, decay=0.0, erased=0.0)]
        for k, (rate, decay, share) in enumerate(drawn[1:], 1):
            found.append(
                Recipe(
                    seed=key("soup", seed, k) % 2**31,
                    rate=self.rate * self.spread ** (2 * rate - 1),
                    decay=self.decay * decay,
                    erased=self.erased * share,
                )
            )
        return found

    def apply(self, model: Model, data: Splits, trainer: Trainer, *, seed: int = 0) -> Mitigated:
        parts = Parts.of(members(data, self.name), self.select, seed)
        if parts.select is None:
            raise AskedWrongly(
                f"{self.name}: there are too few members to hold some out that tell what a soup is worth"
            )
        bench, before = Bench(model, parts), state(model.trainable())
        judge = validation_loss(model, parts.train.schema.classes)
        states, notes = [], []
        for k, recipe in enumerate(self.recipes(seed)):
            load_state(model.trainable(), before)
            schedule = replace(self.schedule(), rate=recipe.rate, decay=recipe.decay)
            loss = _augmented(model, parts, recipe.erased)
            own = trainer.named(f"soup-{k}")  # of one name for both soups: what one has trained the other takes
            done = own.fit(model.trainable(), loss, parts.train, schedule, seed=recipe.seed, validation=judge)
            states.append(state(model.trainable()))
            notes.append(f"run {k + 1} (rate {recipe.rate:.2g}, erased {recipe.erased:.2f}): {done.note}")
        scores = [bench.judged(s, blended=False) for s in states]
        facts, weights, said = self.stir(bench, before, states, scores)
        runs = [{**vars(r), "accuracy": s} for r, s in zip(self.recipes(seed), scores, strict=True)]
        facts = {"runs": runs, "selected on": len(parts.select), **facts}
        return Mitigated(model, weights, facts, (*notes, *said))

    @abstractmethod
    def stir(
        self, bench: Bench, before: State, states: Sequence[State], scores: Sequence[float]
    ) -> tuple[dict[str, Any], dict[str, Tensor], list[str]]:
        """Facts, the soup's weights (which the bench's model then has), and notes; before: the given model's weights,
        scores: the runs' accuracies on the part that selects."""

    def restore(self, model: Model, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Model:
        load_state(model.trainable(), tensors)
        return model


def _augmented(model: Model, parts: Parts, share: float) -> Loss:
    loss = fine_tuning_loss(model, parts.train.schema.classes)
    return lambda batch: loss(erased(batch, share, model.modalities))


def _listed(scores: Sequence[float]) -> str:
    return ", ".join(f"{s:.3f}" for s in scores)


@register
@dataclass(frozen=True, kw_only=True)
class UniformSoup(Soup):
    """The mean of all runs, good or bad."""

    name = "uniform_soup"
    does = "Averages the weights of several fine-tunings, for accuracy that holds up under shift."

    def stir(
        self, bench: Bench, before: State, states: Sequence[State], scores: Sequence[float]
    ) -> tuple[dict[str, Any], dict[str, Tensor], list[str]]:
        blended = len(states) > 1
        weights = average(states)
        accuracy = bench.judged(weights, blended=blended)
        n = len(bench.parts.select or ())
        said = f"accuracy on {n} members held out: {accuracy:.3f}; of the runs alone {_listed(scores)}"
        return {"accuracy": accuracy}, bench.put_and_kept(weights, blended=blended), [said]


@register
@dataclass(frozen=True, kw_only=True)
class GreedySoup(Soup):
    """Best run first; each further one, in the order of accuracy on the part that selects, is kept only if the mean
    with it is strictly better there. That accuracy never falls, and is at least every single run's. given: the model as
    it was is an ingredient as well, so that the soup is never below it there."""

    name = "greedy_soup"
    does = "Averages those of several fine-tunings that raise accuracy on members held out."

    given: bool = True

    def stir(
        self, bench: Bench, before: State, states: Sequence[State], scores: Sequence[float]
    ) -> tuple[dict[str, Any], dict[str, Tensor], list[str]]:
        pot, known = list(states), list(scores)
        if self.given:
            pot.append(before)
            known.append(bench.judged(before, blended=False))
        done = greedy(pot, known, lambda s: bench.judged(s, blended=True))
        names = [f"run {k + 1}" for k in range(len(states))] + ["the model before training"] * self.given
        kept = [names[k] for k in done.kept]
        weights = bench.put_and_kept(average([pot[k] for k in done.kept]), blended=len(kept) > 1)
        n = len(bench.parts.select or ())
        said = [
            f"kept: {', '.join(kept)}; accuracy on {n} members held out, as they came in: {_listed(done.course)}; of "
            f"each alone {_listed(known)}"
        ]
        return {"kept": kept, "course": list(done.course), "accuracy": done.course[-1]}, weights, said
