"""How easily is the model fooled by somebody who knows it: which input, and which combination, is cheapest to break?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from torch import Tensor

from muroan.attack import Attacked
from muroan.batch import Batch, Schema
from muroan.budget import Budget
from muroan.clean import Clean
from muroan.errors import AskedWrongly
from muroan.evidence import Evidence
from muroan.finding import Conclusion, Metric, Panel
from muroan.meter import Metered
from muroan.modality import Text, where
from muroan.model import Capability, Model
from muroan.probe import Observation, Probe, Shown
from muroan.randomness import integers, sample_keys, uniform
from muroan.registry import register
from muroan.robustness.adversarial.gradient_findings import JOINT, NULL, RADII, UNBOUNDED, conclude
from muroan.robustness.adversarial.losses import loss_of
from muroan.robustness.adversarial.pgd import PGD
from muroan.robustness.adversarial.word_substitution import WordSubstitution, candidates, replaced

ALL_SUBSETS = 3
"""Up to so many attackable modalities every combination is attacked; with more, each alone and all together."""


CLIMB = ("loss_first", "loss_best", "steps", "zero_gradient", "promised", "kept")
"""What of the ascent's trace is kept as evidence."""


@register
@dataclass(frozen=True, kw_only=True)
class Gradient(Probe):
    """Attacks each input alone and all together, within a budget each, with everything that the model shows.

    Continuous inputs are moved by projected gradient descent in a ball (picture: 8/255 in every pixel unless set),
    texts by replacing words with words of the same meaning or with a slip of the keyboard. Together: the text attack on
    the attacked picture and the picture attack on the attacked text; whatever succeeds counts, so together is never
    weaker than alone. Only samples that the model gets right are attacked; a success changes the decision.

    A small figure can mean a robust model or a weak attack, so the attack's health is measured beside it: does the
    loss rise, does an unbounded budget succeed, are gradients zero, does a step along them do what they say, does
    random search do better? Where one of these fails, gradients are masked, the success is a lower bound, and no limit
    is called kept.

    Known trade-offs (accepted): first-order attacks underestimate what a stronger one would reach; the random control
    draws once per word budget, since the word attack tries all candidates and equally many random ones are the same.
    """

    name: ClassVar[str] = "robustness.gradient"
    question: ClassVar[str] = "How easily is the model fooled by small changes chosen by somebody who knows it?"
    place: ClassVar[str] = "robustness/adversarial"
    source: ClassVar[str] = (
        "survey equation 1; Tian & Xu, CVPR 2021; Madry et al. 2018; health checks: Carlini et al. 2019"
    )
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            name="success",
            says="Share of right answers that the attack turns into another one within its budget. 0: none; 1: all.",
            limit=0.5,
        ),
        Metric(
            name="excess",
            says="Success of the attack minus success of random changes of the same size. 0: only size matters; "
            "1: chosen changes always fool it, random ones never.",
            limit=0.5,
        ),
        Metric(
            name="interaction",
            says="Success of attacking all inputs together minus that of the strongest input alone. 0: one input "
            "decides; above: inputs are weaker together.",
        ),
        Metric(
            name="robust_accuracy",
            says="Share of all samples that stay right under the attack. 1: always right, whatever is tried.",
            better="higher",
        ),
        Metric(
            name="unbounded_success",
            says="Of the samples that a crude change without bound fools (blank, black, white, noise), the share that "
            "the attack without bound fools too. 1: it works; below, gradients are masked, success a lower bound.",
            better="higher",
            limit=0.8,
        ),
        Metric(
            name="zero_gradients",
            says="Share of attacked samples whose inputs have no gradient at all. 0: gradients reach the inputs.",
            limit=0.1,
        ),
        Metric(
            name="gradient_kept",
            says="Share of samples whose first step along the gradient raises the loss by at least a tenth of what "
            "the gradient says. 1: gradients can be followed; near 0: they are shattered, success a lower bound.",
            better="higher",
            limit=0.5,
        ),
        Metric(
            name="loss_rise",
            says="Share of samples on which the attack found a higher loss than it began with. 1: it climbs.",
            better="higher",
        ),
        Metric(
            name="search_advantage",
            says="Success of random search with as many passes minus that of the gradient. At most 0: the gradient is "
            "worth following; above 0: it is masked.",
            limit=0.05,
        ),
    )
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SCORES, Capability.GRADIENTS})
    outcomes: ClassVar[Mapping[str, Any]] = {"success": "lower"}
    finds: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "robustness.small-perturbation": ("success", "excess"),
        "robustness.masked-gradients": ("zero_gradients",),
        "robustness.shattered-gradients": ("gradient_kept",),
    }

    limit: int | None = 300
    steps: int = 15
    restarts: int = 2
    words: int = 1
    """Words that may be replaced in each text."""
    radii: tuple[tuple[str, float], ...] = ()
    """Radius by modality name, in its value space; over the defaults of its kind."""
    norm: str = "inf"
    health: float = 0.2
    """Share of the samples on which an unbounded budget is tried."""

    def __post_init__(self) -> None:
        if not 0 <= self.health <= 1:
            raise AskedWrongly(f"health is a share of samples, between 0 and 1, not {self.health}")
        PGD(steps=self.steps, restarts=self.restarts)

    def budgets(self, schema: Mapping[str, Any], modalities: Sequence[str]) -> dict[str, Budget]:
        """Modality -> its budget, those that can be attacked."""
        given = dict(self.radii)
        out = {}
        for m in modalities:
            if isinstance(schema[m], Text):
                if self.words:
                    out[m] = Budget(words=self.words)
            elif (radius := given.get(m, RADII.get(schema[m].kind, 0.0))) > 0:
                out[m] = Budget(radius=radius, norm=self.norm)
        return out

    def applies(self, model: Model, schema: Schema) -> str | None:
        for m, _ in self.radii:
            if m not in schema.modalities:
                return f"radii name {m!r}, which is no modality of the data"
        if not self.budgets(schema.modalities, model.modalities):
            return "no modality can be attacked: give radii for its continuous ones, such as radii: [[table, 0.1]]"
        return None

    # Observing

    def observe(self, clean: Clean) -> Observation:
        budgets = self.budgets(clean.batch.modalities, tuple(clean.model.modalities))
        right = clean.correct.nonzero().flatten().tolist()
        batch = clean.batch.take(right)
        frames = [self._rows(clean, NULL, right, _nothing(clean, right), {})]
        shown: list[Shown] = []
        alone: dict[str, Attacked] = {}
        for subset in self._subsets(tuple(budgets)):
            chosen = {m: budgets[m] for m in subset}
            done = self._attack(clean.model, batch, chosen, clean.seed, alone)
            if len(subset) == 1:
                alone[subset[0]] = done
            name = JOINT if len(subset) == len(budgets) else " + ".join(subset)
            extra = {"words": done.trace["words"]} if "words" in done.trace else {}
            frames.append(self._rows(clean, name, right, done, extra | _climb(done)))
            guess = self._random(clean.model, batch, chosen, clean.seed, name)
            frames.append(self._rows(clean, f"random {name}", right, guess, {}))
            if name == JOINT:
                shown = self._shown(clean, batch, done)
        wide = self._unbounded(clean, batch, right, budgets)
        frames += [wide] if wide is not None else []
        return Observation(pl.concat(frames, how="diagonal_relaxed"), shown)

    def _subsets(self, names: tuple[str, ...]) -> list[tuple[str, ...]]:
        sizes = range(1, len(names) + 1) if len(names) <= ALL_SUBSETS else (1, len(names))
        return [s for size in sizes for s in combinations(names, size)]

    def _attack(
        self, model: Metered, batch: Batch, budgets: Mapping[str, Budget], seed: int, alone: Mapping[str, Attacked]
    ) -> Attacked:
        """The modalities of `budgets` attacked together; what already succeeded alone stays as it is."""
        if len(batch) == 0:
            return _untouched(batch, model)
        pgd, words = PGD(steps=self.steps, restarts=self.restarts), WordSubstitution()
        texts = {m: b for m, b in budgets.items() if b.words}
        rest = {m: b for m, b in budgets.items() if not b.words}
        if not (texts and rest):
            attack = words if texts else pgd
            if len(budgets) > 1 and not texts:
                return _either([alone[m] for m in budgets if m in alone], attack.run(model, batch, rest, seed=seed))
            return attack.run(model, batch, budgets, seed=seed)
        labels = model.of(batch).argmax(dim=1)
        singles = [alone[m] for m in budgets if m in alone]
        before = _either(singles[:-1], singles[-1]) if singles else _untouched(batch, model)
        left = (~before.success).nonzero().flatten()
        if len(left) == 0:
            return before
        # Both orders: words on the moved picture, and the picture moved under the replaced words.
        some = batch.take(left)
        moved = pgd.run(model, some, rest, seed=seed)
        first = _against(model, words.run(model, moved.batch, texts, seed=seed), labels[left])
        spoken = words.run(model, some, texts, seed=seed)
        second = _against(model, pgd.run(model, spoken.batch, rest, seed=seed), labels[left])
        both = _either([first], second)
        return _placed(before, both, left)

    def _random(self, model: Metered, batch: Batch, budgets: Mapping[str, Budget], seed: int, name: str) -> Attacked:
        """The best of as many random changes of the same size as gradient descent has passes per sample."""
        if len(batch) == 0:
            return _untouched(batch, model)
        tries = (self.steps + 1) * self.restarts if any(b.radius for b in budgets.values()) else 1
        codes, index = model.codes(batch)
        labels = model.logits(codes, index, batch.present or None).argmax(dim=1)
        success = torch.zeros(len(batch), dtype=torch.bool)
        loss = torch.full((len(batch),), -torch.inf, dtype=torch.double)
        logits = torch.zeros(len(batch), len(model.classes))
        left = torch.arange(len(batch))
        for t in range(tries):
            some = batch.take(left)
            changed: dict[str, Any] = {}
            for m, b in budgets.items():
                keys = sample_keys(some.ids, seed, self.name, "random", name, m, t)
                if b.words:
                    changed[m] = _random_words(some.inputs[m], some.modalities[m], b.words, keys)
                else:
                    moved = some.modalities[m].random_change(some.inputs[m], b.p, b.radius, keys)
                    here = some.present.get(m)
                    changed[m] = moved if here is None else where(here, moved, some.inputs[m])
            coded = {m: model.encode(m, v) for m, v in changed.items()}
            still = {m: c.take(index[m][left]) for m, c in codes.items() if m not in changed}
            found = model.logits({**still, **coded}, None, {k: v[left] for k, v in batch.present.items()} or None)
            flipped = found.argmax(dim=1) != labels[left]
            logits[left] = found
            loss[left] = torch.maximum(loss[left], loss_of(found, labels[left]))
            success[left] = flipped
            left = left[~flipped]
            if len(left) == 0:
                break
        return Attacked(batch, success, logits, {"loss_best": loss})

    def _unbounded(
        self, clean: Clean, batch: Batch, right: list[int], budgets: Mapping[str, Budget]
    ) -> pl.DataFrame | None:
        """Budgets without bound, on a random part of the samples: the gradient must do what crude changes do."""
        wide = {
            m: Budget(radius=float(clean.batch.modalities[m].high - clean.batch.modalities[m].low), norm="inf")
            for m, b in budgets.items()
            if b.radius and np.isfinite(clean.batch.modalities[m].high - clean.batch.modalities[m].low)
        }
        if not wide:
            return None
        drawn = uniform(clean.keys(self.name, "health"))
        picked = [k for k, i in enumerate(right) if drawn[i] < self.health]
        samples = [right[k] for k in picked]
        if not samples:
            return None
        some = batch.take(picked)
        done = self._attack(clean.model, some, wide, clean.seed, {})
        crude = _crude(clean.model, some, tuple(wide), clean.seed)
        return clean.take(samples).rows(UNBOUNDED, attacked=[True] * len(samples), success=done.success, crude=crude)

    def _rows(
        self, clean: Clean, condition: str, right: list[int], done: Attacked, extra: Mapping[str, Tensor]
    ) -> pl.DataFrame:
        at = torch.tensor(right, dtype=torch.long)
        attacked = torch.zeros(len(clean), dtype=torch.bool)
        success = torch.zeros(len(clean), dtype=torch.bool)
        attacked[at], success[at] = True, done.success
        columns: dict[str, Any] = {"attacked": attacked, "success": success}
        for name, values in extra.items():
            column = torch.full((len(clean),), -1.0, dtype=torch.double)
            column[at] = values.double()
            columns[name] = column
        return clean.rows(condition, **columns)

    def _shown(self, clean: Clean, batch: Batch, done: Attacked) -> list[Shown]:
        """The first successes with a picture: before, after, and the difference."""
        pictures = [m for m in clean.model.modalities if batch.modalities[m].kind == "image"]
        out = []
        for i in done.success.nonzero().flatten().tolist()[:2] if pictures else []:
            m = pictures[0]
            old, new = batch.inputs[m][i], done.batch.inputs[m][i]
            said = {k: self._said(batch, done, i, k) for k in batch.inputs if isinstance(batch.modalities[k], Text)}
            answer = clean.model.classes[int(done.logits[i].argmax())]
            truth = clean.model.classes[int(batch.targets[i])]
            panels: list[tuple[Panel, Any]] = [
                (Panel(label=f"{m}, original: {truth}", kind="image"), old),
                (Panel(label=f"{m}, attacked: {answer}", kind="image"), new),
                (Panel(label="difference, 10 times", kind="image"), (0.5 + 10 * (new - old)).clamp(0, 1)),
            ]
            panels += [(Panel(label=k, kind="text", text=text), None) for k, text in said.items()]
            rank = float(uniform(sample_keys([batch.ids[i]], "exhibit"))[0].item())
            title = f"“{truth}” becomes “{answer}”"
            out.append(Shown(sample=batch.ids[i], title=title, panels=panels, rank=rank))
        return out

    @staticmethod
    def _said(batch: Batch, done: Attacked, i: int, m: str) -> str:
        old, new = batch.inputs[m][i], done.batch.inputs[m][i]
        return old if old == new else f"{old} → {new}"

    def conclude(self, evidence: Evidence) -> Conclusion:
        return conclude(self, evidence)


def _nothing(clean: Clean, right: list[int]) -> Attacked:
    """The null change: the clean batch put to the model again; any flip would be an error of the harness."""
    batch = clean.batch.take(right)
    logits = clean.model.of(batch) if right else torch.zeros(0, len(clean.model.classes))
    return Attacked(batch, logits.argmax(dim=1) != clean.predicted[right], logits)


def _untouched(batch: Batch, model: Metered) -> Attacked:
    logits = model.of(batch) if len(batch) else torch.zeros(0, len(model.classes))
    return Attacked(batch, torch.zeros(len(batch), dtype=torch.bool), logits)


def _against(model: Metered, done: Attacked, labels: Tensor) -> Attacked:
    """The same attack judged against the original decisions, not those it started from."""
    return replace(done, success=done.logits.argmax(dim=1) != labels)


def _either(others: Sequence[Attacked], last: Attacked) -> Attacked:
    """Per sample the first of several attacks that succeeded, else the last one."""
    for other in reversed(others):
        take = other.success
        inputs = {m: where(take, other.batch.inputs[m], v) for m, v in last.batch.inputs.items()}
        logits = torch.where(take[:, None], other.logits, last.logits)
        last = Attacked(last.batch.with_inputs(**inputs), take | last.success, logits)
    return last


def _placed(base: Attacked, some: Attacked, index: Tensor) -> Attacked:
    """`base` with the samples at `index` replaced by those of `some`."""
    inputs = {}
    for m, v in base.batch.inputs.items():
        if isinstance(v, Tensor):
            v = v.clone()
            v[index] = some.batch.inputs[m]
        else:
            v = list(v)
            for k, i in enumerate(index.tolist()):
                v[i] = some.batch.inputs[m][k]
        inputs[m] = v
    success, logits = base.success.clone(), base.logits.clone()
    success[index], logits[index] = some.success, some.logits
    return Attacked(base.batch.with_inputs(**inputs), success, logits)


def _crude(model: Metered, batch: Batch, modalities: Sequence[str], seed: int) -> Tensor:
    """Whether replacing these inputs altogether changes the decision: by nothing, by either end of the range, by noise.

    No gradient is asked for, so masked ones do not matter; bool [N].
    """
    codes, index = model.codes(batch)
    labels = model.logits(codes, index, batch.present or None).argmax(dim=1)
    fooled = torch.zeros(len(batch), dtype=torch.bool)
    for how in ("neutral", "low", "high", "noise", "more noise"):
        swapped = {}
        for m in modalities:
            x, modality = batch.inputs[m], batch.modalities[m]
            if how == "neutral":
                swapped[m] = modality.neutral(x)
            elif how in ("low", "high"):
                swapped[m] = torch.full_like(x, modality.low if how == "low" else modality.high)
            else:
                draws = uniform(sample_keys(batch.ids, seed, "crude", how, m), *x.shape[1:])
                swapped[m] = torch.from_numpy(modality.low + (modality.high - modality.low) * draws).to(x.dtype)
            if m in batch.present:
                swapped[m] = where(batch.present[m], swapped[m], x)
        coded = {m: model.encode(m, v) for m, v in swapped.items()}
        still = {m: c.take(index[m]) for m, c in codes.items() if m not in swapped}
        fooled |= model.logits({**still, **coded}, None, batch.present or None).argmax(dim=1) != labels
    return fooled


def _random_words(texts: Sequence[str], modality: Any, words: int, keys: Any) -> list[str]:
    """Each text with `words` random allowed replacements (fewer where there are not so many)."""
    out = []
    draws = integers(keys, 2**31, words)
    for text, row in zip(texts, draws, strict=True):
        done: frozenset[int] = frozenset()
        for draw in row:
            found = candidates(text, modality, done)
            if not found:
                break
            choice = found[int(draw) % len(found)]
            text, done = replaced(text, choice), done | {choice.word}
        out.append(text)
    return out


def _climb(done: Attacked) -> dict[str, Tensor]:
    return {k: done.trace[k] for k in CLIMB if k in done.trace}
