"""WiSE-FT: the model on the straight line between what it was before it was fine-tuned and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from muroan.dataset import Splits
from muroan.errors import AskedWrongly
from muroan.mitigation import Fitting, Mitigated, members, state
from muroan.mitigations.fine_tuning import Bench, fine_tuning
from muroan.mitigations.weight_space import State, alike, fisher_information, interpolate, normed
from muroan.model import Capability, Model
from muroan.registry import open_model, register
from muroan.training import Trainer

GRID = tuple(k / 10 for k in range(11))
"""The values of alpha on the curve."""
HALF = 0.5
"""Alpha where nothing can be chosen (the source's recommendation)."""
UNCHANGED = "alpha is 0: the weights are those before training"


def chosen(curve: Mapping[float, float], margin: float) -> float:
    """The smallest alpha whose accuracy is at most `margin` below that of the fine-tuned end (alpha 1)."""
    return min(alpha for alpha, value in curve.items() if value >= curve[1.0] - margin - 1e-12)


@register
@dataclass(frozen=True, kw_only=True)
class WiseFT(Fitting):
    """theta = (1 − alpha) · start + alpha · end, heads included, start and end being of one initialisation.

    Which end is what: by default the given model is the start and is fine-tuned on the members. `end` names the model
    that the given one was fine-tuned into. `start` names the model that the given one was fine-tuned from: that is how
    a fine-tuned model gets back some of the robustness that fine-tuning cost, and nothing is trained.

    alpha: 0 to 1; None: the smallest of 0, .1, ..., 1 whose accuracy on members held out from training is at most
    `margin` below that of the end, .5 where there are too few members to hold any out. The whole curve is among the
    facts. select: share of the members (by cluster) that are held out for this. fisher: samples that Fisher weights are
    estimated on, 0 for the plain mean. Statistics of batch norms are estimated anew on the members.

    Nothing is promised of the model as it was given: on the line to the start what gets better is compared with the
    fine-tuned end, on data that have shifted. Members that a named end was trained on flatter it and move alpha up.

    Known trade-off: accuracy on a hundred members tells points apart badly, and the smallest alpha that passes is the
    luckiest; the choice may cost a little more than `margin` (reproductions/r10.py). Hold out more, or ask for .5.
    """

    name = "wise_ft"
    does = "Averages weights before and after fine-tuning, against what fine-tuning costs under shift."
    place = "robustness/distribution_shift"
    source = "Wortsman et al., CVPR 2022 (arXiv 2109.01903); the rule that chooses alpha: ours"

    alpha: float | None = None
    margin: float = 0.01
    start: str = ""
    end: str = ""
    select: float = 0.2
    fisher: int = 0

    def __post_init__(self) -> None:
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise AskedWrongly(f"alpha is {self.alpha}; it must be between 0 (the start) and 1 (the end)")
        if self.start and self.end:
            raise AskedWrongly("name the start or the end, not both: the given model is the other one")
        if not 0 < self.select < 1 or self.margin < 0 or self.fisher < 0:
            raise AskedWrongly("wise_ft needs a select between 0 and 1, and margin and fisher of at least 0")

    def apply(self, model: Model, data: Splits, trainer: Trainer, *, seed: int = 0) -> Mitigated:
        bench = Bench.of(model, members(data, self.name), self.select, seed)
        start, end, origin = self._ends(bench, data, trainer, seed)
        fisher = self._fisher(bench, start, end, seed) if self.fisher else None
        line = partial(interpolate, start, end, fisher=fisher)
        curve = {a: bench.judged(line(a), blended=0 < a < 1) for a in GRID if bench.select is not None}
        alpha = self.alpha
        if alpha is None:
            alpha = chosen(curve, self.margin) if curve else HALF
        bench.put(line(alpha), blended=0 < alpha < 1)
        points, judges = [[a, v] for a, v in curve.items()], len(bench.select or ())
        facts = {"alpha": alpha, "curve": points, "selected on": judges}
        return Mitigated(model, state(model.trainable()), facts, (origin, *self._said(bench, alpha, curve)))

    def _ends(self, bench: Bench, data: Splits, trainer: Trainer, seed: int) -> tuple[State, State, str]:
        """Weights at alpha 0 and at alpha 1, and where they are from."""
        model = bench.model
        given = state(model.trainable())
        if ref := self.start or self.end:
            other = open_model(ref, data)
            if Capability.TRAIN not in other.capabilities:
                raise AskedWrongly(f"{ref} does not show its weights, so nothing lies between it and {model.name}")
            named = state(other.trainable())
            alike([given, named])
            return (named, given, f"start: {ref}") if self.start else (given, named, f"end: {ref}")
        objective = fine_tuning(model, bench.train)
        trained = self.fit(model, objective, bench.train, trainer.named(self.name), seed=seed)
        return given, state(model.trainable()), f"fine-tuned: {trained.note}"

    def _fisher(self, bench: Bench, start: State, end: State, seed: int) -> tuple[State, State]:
        def mattering(weights: State) -> State:
            bench.put(weights, blended=False)
            return fisher_information(bench.model, bench.train, self.fisher, seed=seed)

        return mattering(start), mattering(end)

    def _said(self, bench: Bench, alpha: float, curve: Mapping[float, float]) -> Iterator[str]:
        if curve:
            points = ", ".join(f"{a:g}: {value:.3f}" for a, value in curve.items())
            yield f"accuracy on {bench.judges} held out, by alpha: {points}"
        else:
            yield "too few members to hold some out: there is no curve to choose alpha by"
        rule = f"smallest within {self.margin:g} of alpha 1" if curve else "half"
        how = rule if self.alpha is None else "as asked"
        yield f"alpha {alpha:g} ({how})" if alpha or self.start else UNCHANGED
        if 0 < alpha < 1 and normed(bench.model.trainable()):
            yield "statistics of batch norms were estimated anew on members"
