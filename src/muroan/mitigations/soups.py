"""Model soups: the mean of several fine-tunings of one model, of all or of those that help."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from muroan.dataset import Splits
from muroan.errors import AskedWrongly
from muroan.mitigation import Fitting, Mitigated, members, state
from muroan.mitigations.fine_tuning import Bench, fine_tuning
from muroan.mitigations.weight_space import State, average
from muroan.model import Model
from muroan.randomness import key, sample_keys, uniform
from muroan.registry import register
from muroan.training import Trainer


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

    runs: int = 5
    spread: float = 3.0
    decay: float = 0.1
    erased: float = 0.2
    select: float = 0.2
    epochs: int = 8

    def __post_init__(self) -> None:
        if self.runs < 1 or self.spread < 1 or self.decay < 0 or not 0 <= self.erased < 1 or not 0 < self.select < 1:
            wanted = "runs and spread of at least 1, decay of at least 0, erased and select between 0 and 1"
            raise AskedWrongly(f"a soup needs {wanted}")

    def recipes(self, seed: int) -> list[Recipe]:
        """What each run does, drawn from the seed."""
        drawn = uniform(sample_keys([str(k) for k in range(self.runs)], "soup", seed), 3).tolist()
        return [Recipe(seed=seed, rate=self.rate, decay=0.0, erased=0.0)] + [
            Recipe(
                seed=key("soup", seed, k) % 2**31,
                rate=self.rate * self.spread ** (2 * rate - 1),
                decay=self.decay * decay,
                erased=self.erased * share,
            )
            for k, (rate, decay, share) in enumerate(drawn[1:], 1)
        ]

    def apply(self, model: Model, data: Splits, trainer: Trainer, *, seed: int = 0) -> Mitigated:
        bench, before = Bench.of(model, members(data, self.name), self.select, seed), state(model.trainable())
        if bench.select is None:
            why = "there are too few members to hold some out that tell what a soup is worth"
            raise AskedWrongly(f"{self.name}: {why}")
        states, runs, notes = [], [], []
        for k, recipe in enumerate(self.recipes(seed)):
            bench.put(before, blended=False)
            objective = fine_tuning(model, bench.train, recipe.erased)
            own = trainer.named(f"soup-{k}")  # of one name for both soups: what one has trained the other takes
            how = {"rate": recipe.rate, "decay": recipe.decay}
            trained = self.fit(model, objective, bench.train, own, seed=recipe.seed, **how)
            states.append(state(model.trainable()))
            runs.append({**vars(recipe), "accuracy": bench.judged(states[-1], blended=False)})
            notes.append(f"run {k + 1} (rate {recipe.rate:.2g}, erased {recipe.erased:.2f}): {trained.note}")
        pot, facts, said = self.stir(bench, before, states, [run["accuracy"] for run in runs])
        bench.put(average(pot), blended=len(pot) > 1)
        facts = {"runs": runs, "selected on": len(bench.select), **facts}
        return Mitigated(model, state(model.trainable()), facts, (*notes, said))

    @abstractmethod
    def stir(
        self, bench: Bench, before: State, states: Sequence[State], scores: Sequence[float]
    ) -> tuple[Sequence[State], dict[str, Any], str]:
        """What the soup is the mean of, facts, and a note; before: the given model's weights, scores: the runs'
        accuracies on the part that selects."""


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
    ) -> tuple[Sequence[State], dict[str, Any], str]:
        accuracy = bench.judged(average(states), blended=len(states) > 1)
        said = f"accuracy on {bench.judges} held out: {accuracy:.3f}; of the runs alone {_listed(scores)}"
        return states, {"accuracy": accuracy}, said


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
    ) -> tuple[Sequence[State], dict[str, Any], str]:
        pot, known = list(states), list(scores)
        if self.given:
            pot.append(before)
            known.append(bench.judged(before, blended=False))
        done = greedy(pot, known, lambda s: bench.judged(s, blended=True))
        names = [f"run {k + 1}" for k in range(len(states))] + ["the model before training"] * self.given
        kept, course = [names[k] for k in done.kept], list(done.course)
        said = f"kept: {', '.join(kept)}; accuracy on {bench.judges} held out, as they came in: {_listed(course)}"
        facts = {"kept": kept, "course": course, "accuracy": course[-1]}
        return [pot[k] for k in done.kept], facts, f"{said}; of each alone {_listed(known)}"
