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
from muroan.estimate import Estimate, paired_difference, proportion
from muroan.evidence import AUDITED, Evidence, clusters
from muroan.finding import Bar, BarChart, Chart, Conclusion, Finding, Line, LineChart, Metric, Panel
from muroan.meter import Metered
from muroan.modality import Text, where
from muroan.model import Capability, Model
from muroan.probe import Observation, Probe, Shown
from muroan.randomness import integers, sample_keys, uniform
from muroan.registry import register
from muroan.robustness.adversarial.pgd import PGD, loss_of
from muroan.robustness.adversarial.word_substitution import WordSubstitution, candidates, replaced

JOINT, NULL, UNBOUNDED = "joint", "null", "unbounded"
RADII = {"image": 8 / 255, "audio": 0.01}
"""Default radius per kind, in the modality's value space; other kinds have no scale that is known beforehand."""
ALL_SUBSETS = 3
"""Up to so many attackable modalities every combination is attacked; with more, each alone and all together."""


@register
@dataclass(frozen=True, kw_only=True)
class Gradient(Probe):
    """Attacks each input alone and all together, within a budget each, with everything that the model shows.

    Continuous inputs are moved by projected gradient descent in a ball (picture: 8/255 in every pixel unless set),
    texts by replacing words with words of the same meaning or with a slip of the keyboard. Together: the text attack on
    the attacked picture and the picture attack on the attacked text; whatever succeeds counts, so together is never
    weaker than alone. Only samples that the model gets right are attacked; a success changes the decision.

    A small figure can mean a robust model or a weak attack, so the attack's health is measured beside it: does the
    loss rise, does an unbounded budget succeed, are gradients zero, does random search do better? Where one of these
    fails, gradients are masked, the success is a lower bound, and no limit is called kept.

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
            says="Share fooled when a picture or sound may change without bound. 1: the attack works; below, gradients "
            "are masked and every success above is a lower bound.",
            better="higher",
            limit=0.8,
        ),
        Metric(
            name="zero_gradients",
            says="Share of attacked samples whose inputs have no gradient at all. 0: gradients reach the inputs.",
            limit=0.1,
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
                    changed[m] = some.modalities[m].random_change(some.inputs[m], b.p, b.radius, keys)
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
        """Budgets without bound, on a random part of the samples: an attack that works must succeed."""
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
        done = self._attack(clean.model, batch.take(picked), wide, clean.seed, {})
        return (
            clean.take(samples).rows(UNBOUNDED, attacked=[True] * len(samples), success=done.success)
            if samples
            else None
        )

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

    # Concluding

    def conclude(self, evidence: Evidence) -> Conclusion:
        level = evidence.about.level
        rows = evidence.of(AUDITED).filter(pl.col("attacked")).sort("sample")
        by = {c: rows.filter(pl.col("condition") == c) for c in evidence.conditions()}
        total = len(evidence.of(AUDITED, NULL))
        if not len(by[NULL]):
            reason = "the model got no sample right, so there was nothing to attack"
            return Conclusion(findings=[self._silent(reason)], notes=[reason])
        rates = {c: proportion(r["success"], clusters(r), level=level) for c, r in by.items() if len(r)}
        attacks = [c for c in rates if c not in (NULL, UNBOUNDED) and not c.startswith("random ")]
        health, sick = self._health(by, rates, level)
        judged = not sick
        joint = by[JOINT]
        controls = {"random change of equal size": rates[f"random {JOINT}"], "no change": rates[NULL]}
        doubt = f" Health check failed ({'; '.join(sick)}): a lower bound, not judged." if sick else ""
        note = f"Of {len(joint)} right answers among {total} samples; success: the decision changes.{doubt}"
        findings = [
            Finding(
                probe=self.name,
                metric="success",
                title="Right answers turned by attacking all inputs together",
                estimate=rates[JOINT],
                controls=controls,
                note=note,
                judged=judged or rates[JOINT].low > 0.5,
            ),
            Finding(
                probe=self.name,
                metric="excess",
                title="What choosing the changes adds over random ones",
                estimate=paired_difference(
                    joint["success"], by[f"random {JOINT}"]["success"], clusters(joint), level=level
                ),
                controls=controls,
                judged=judged,
            ),
            *health,
        ]
        singles = [c for c in attacks if c != JOINT and " + " not in c]
        if len(singles) > 1:
            best = max(singles, key=lambda c: rates[c].value)
            findings.append(
                self._detail(
                    "interaction",
                    f"What attacking together adds over {best} alone, the strongest input",
                    paired_difference(joint["success"], by[best]["success"], clusters(joint), level=level),
                    note="The strongest input is chosen on the same samples (oracle): the interaction is understated.",
                )
            )
        robust = evidence.of(AUDITED, JOINT).sort("sample")
        stays = (robust["clean_correct"] & ~robust["success"]).to_list()
        findings.append(
            self._detail(
                "robust_accuracy",
                "Samples that stay right when all inputs are attacked",
                proportion(stays, clusters(robust), level=level),
                controls={"untouched": proportion(robust["clean_correct"], clusters(robust), level=level)},
            )
        )
        findings += [
            self._detail(
                "success",
                f"Right answers turned by attacking {c}",
                rates[c],
                controls={"random change of equal size": rates[f"random {c}"]},
            ).model_copy(update={"modality": c})
            for c in attacks
            if c != JOINT
        ]
        findings += self._groups(joint, evidence)
        notes = [
            f"Budgets: {self._budget_words(evidence)}; {self.steps} steps, {self.restarts} starts.",
            "Random changes: the best of as many draws as gradient descent makes passes; one where only words change.",
        ]
        return Conclusion(findings=findings, charts=_charts(by, rates, attacks), notes=notes)

    def _health(
        self, by: Mapping[str, pl.DataFrame], rates: Mapping[str, Estimate], level: float
    ) -> tuple[list[Finding], list[str]]:
        """Is the attack worth its name? Findings, and what failed in words."""
        found: list[Finding] = []
        sick: list[str] = []
        if UNBOUNDED in rates:
            estimate = rates[UNBOUNDED]
            if estimate.value < self.metric("unbounded_success").limit:  # type: ignore[operator]
                sick.append(f"an unbounded budget succeeds on {estimate.value:.0%} only")
            found.append(self._health_finding("unbounded_success", "Fooled when the change has no bound", estimate))
        climbs = [c for c in by if "loss_best" in by[c].columns and c not in (NULL, UNBOUNDED)]
        climbs = [c for c in climbs if not c.startswith("random ") and by[c]["loss_best"].null_count() < len(by[c])]
        gradient = next((c for c in climbs if by[c]["zero_gradient"].null_count() == 0), None)
        if gradient is not None:
            rows = by[gradient]
            zero = proportion(rows["zero_gradient"] > 0, clusters(rows), level=level)
            if zero.value > self.metric("zero_gradients").limit:  # type: ignore[operator]
                sick.append(f"{zero.value:.0%} of the samples have no gradient")
            found.append(self._health_finding("zero_gradients", f"Samples without any gradient ({gradient})", zero))
            rise = proportion((rows["loss_best"] > rows["loss_first"]) | rows["success"], clusters(rows), level=level)
            found.append(self._detail("loss_rise", f"Samples on which the loss was made to rise ({gradient})", rise))
            search = by[f"random {gradient}"]
            ahead = paired_difference(search["success"], rows["success"], clusters(rows), level=level)
            if ahead.low > 0:
                sick.append("random search does better than the gradient")
            found.append(
                self._health_finding("search_advantage", f"Random search over the gradient ({gradient})", ahead)
            )
        return found, sick

    def _health_finding(self, metric: str, title: str, estimate: Estimate) -> Finding:
        return Finding(probe=self.name, metric=metric, title=title, estimate=estimate)

    def _silent(self, reason: str) -> Finding:
        title = "Right answers turned by attacking all inputs together"
        return Finding(probe=self.name, metric="success", title=title, reason=reason)

    def _detail(
        self,
        metric: str,
        title: str,
        estimate: Estimate,
        *,
        controls: Mapping[str, Estimate] | None = None,
        note: str = "",
    ) -> Finding:
        return Finding(
            probe=self.name,
            metric=metric,
            title=title,
            estimate=estimate,
            judged=False,
            controls=dict(controls or {}),
            note=note,
        )

    def _groups(self, joint: pl.DataFrame, evidence: Evidence) -> list[Finding]:
        out = []
        for name in evidence.about.groups:
            for value in evidence.about.groups[name]:
                some = joint.filter(pl.col(f"group.{name}") == value)
                if len(some) >= 10:
                    e = proportion(some["success"], clusters(some), level=evidence.about.level)
                    found = self._detail("success", f"Right answers turned, {name} {value}", e)
                    out.append(found.model_copy(update={"group": f"{name}={value}"}))
        return out

    def _budget_words(self, evidence: Evidence) -> str:
        given = dict(self.radii)
        said = []
        for m, kind in evidence.about.modalities.items():
            if kind == "text":
                said.append(
                    f"{m}: {self.words} word{'s' if self.words != 1 else ''} (same meaning, or two letters swapped)"
                )
                continue
            radius = given.get(m, RADII.get(kind, 0.0))
            unit = f"{radius * 255:.3g}/255" if kind == "image" else f"{radius:.3g}"
            said.append(f"{m}: L{self.norm} {unit}" if radius else f"{m}: not attacked (no radius given)")
        return "; ".join(said)


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
    return {k: done.trace[k] for k in ("loss_first", "loss_best", "steps", "zero_gradient") if k in done.trace}


def _charts(by: Mapping[str, pl.DataFrame], rates: Mapping[str, Estimate], attacks: Sequence[str]) -> list[Chart]:
    bars = [Bar(label=c, estimate=rates[c], of="attack") for c in attacks]
    bars += [Bar(label=c, estimate=rates[f"random {c}"], of="random, equal size", control=True) for c in attacks]
    charts: list[Chart] = [
        BarChart(title="Which input is cheapest to break?", y_label="right answers turned", bars=bars, y_range=(0, 1))
    ]
    lines = []
    for c in attacks:
        rows = by[c]
        if "steps" in rows.columns and rows["steps"].null_count() == 0 and " + " not in c:
            steps = rows["steps"].to_numpy()
            x = [float(t) for t in range(int(steps.max()) + 2)]
            lines.append(Line(label=c, x=x, y=[float(((steps >= 0) & (steps <= t)).mean()) for t in x]))
    if lines:
        charts.append(
            LineChart(
                title="Success over the steps of the ascent",
                x_label="steps",
                y_label="right answers turned",
                lines=lines,
                y_range=(0, 1),
            )
        )
    return charts
