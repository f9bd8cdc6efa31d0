"""How much worse a model gets when what arrives is noisy, blurred, badly compressed, mistyped or misread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from muroan.batch import Schema
from muroan.clean import Clean
from muroan.content import digests
from muroan.errors import AskedWrongly, unknown
from muroan.evidence import Evidence
from muroan.figure import Figure
from muroan.finding import Conclusion
from muroan.interventions.perturbations import SEVERITIES, TABLE, Perturbation, of_kind
from muroan.interventions.perturbations.fidelity import ALIKE, MEANING, TRIES, Gate, Judge
from muroan.interventions.perturbations.image import scale_of
from muroan.interventions.perturbations.tools import missing, named, opened
from muroan.modality import Modality, Text, take
from muroan.model import Model
from muroan.panels import Shown, before_after, turned
from muroan.probe import Observation, Probe
from muroan.registry import register
from muroan.robustness.distribution_shift.corruptions.charts import charts
from muroan.robustness.distribution_shift.corruptions.findings import say_all, spoken
from muroan.robustness.distribution_shift.corruptions.notes import notes
from muroan.robustness.distribution_shift.corruptions.sides import read
from muroan.robustness.distribution_shift.corruptions.sweep import Sweep
from muroan.say import Say

MOST_TRIES = 10_000


@register
@dataclass(frozen=True, kw_only=True)
class Corruptions(Probe):
    """Each perturbation at each severity changes one modality, which is encoded anew; the others keep their codes.

    A value shared by several samples is changed and encoded once, and fused with each of them. What is drawn for a
    value depends on its contents, the seed and the perturbation, not on the severity or the batch. A sample that
    lacks the modality is left as it is, and left out of that modality's figures.

    The headline is MMI, multimodal impact, a mean over modalities, each judged too. The worst corruption has an
    interval that holds for all of them at once (the largest of many noisy figures is biased); a model that goes blind
    on two classes loses half, so the limit is below that. With a judge of meaning it is said of each perturbation how
    alike what was drawn is to the original.

    A perturbation with fewer severities (a rewrite of a sentence has one) counts as one perturbation all the same.
    The null change (values encoded anew, unchanged) is the control of all: it must be 0.

    severities: which of 1..5 (a perturbation that has none of them gets its highest); corruptions: names of
    perturbations, none: all that fit and have what they want; scale_to_size: lengths in pixels (blur radii and the
    like), chosen for pictures of 224 pixels, are scaled to the picture's own size. given: what does not ship, by name
    (`perturbations.tools`): [[formal, "hf:./formal"]]. With [[meaning, "hf:./encoder"]] texts whose words or style
    change are drawn again until their cosine with the original is `alike`, `tries` times at most.

    Cost: perturbations × severities passes through the changed modality's encoder for each of its distinct values
    (75 for a picture), and as many fusions for each sample; the passes of what is given, which are not counted.

    Known trade-offs (accepted): words that are dropped or replaced may change what the right answer is; without a
    judge nothing checks that the meaning is kept, so losses under changes of words are an upper bound, and with one
    severities need not rise. Severities are comparable within a perturbation, not across; a mean over perturbations
    depends on which are in the list.
    """

    name = "robustness.corruptions"
    question = "How much accuracy is lost when inputs are noisy, blurred, compressed or mistyped?"
    place = "robustness/distribution_shift"
    source = (
        "Qiu et al., DMLR 2024 (arXiv 2212.08044): MMI = (s_clean − mean s_perturbed) / s_clean; "
        "constants of Hendrycks and Dietterich, ICLR 2019 (ImageNet-C)"
    )
    figures = (
        Figure(
            "mmi",
            says="Share of the clean accuracy lost on average over perturbations and severities. "
            "0: nothing; 1: everything; below 0: better when perturbed.",
            limit=0.2,
        ),
        Figure(
            "worst_corruption",
            says="Share of the clean accuracy lost under the perturbation that costs most, averaged over severities. "
            "0: none costs anything; 1: one of them costs everything.",
            limit=0.4,
        ),
        Figure(
            "flip_rate",
            says="Of the samples that were right, the share that is wrong when perturbed, on average. 0: none; 1: all.",
        ),
        Figure(
            "consistency",
            says="Share of samples whose answer stays the same when perturbed, on average. 1: all; 0: none.",
            better="higher",
        ),
        Figure(
            "drop",
            says="Accuracy lost under this perturbation, averaged over severities. 0: nothing; 1: everything.",
            unit="points",
        ),
        Figure(
            "similarity",
            says="Cosine of the changed text with the original by the judge of meaning that the user names, averaged "
            "over severities. 1: the same to it; 0: nothing in common.",
            better="higher",
        ),
        Figure(
            "out_of_tries",
            says="Share of changed texts that were accepted although no try was alike enough. 0: none; 1: all.",
        ),
    )
    outcomes = {"correct": "higher"}
    finds = {
        "robustness.one-corruption": ("worst_corruption",),
        "robustness.one-text-corruption": ("worst_corruption",),
    }

    limit: int | None = 300
    severities: tuple[int, ...] = SEVERITIES
    corruptions: tuple[str, ...] = ()
    scale_to_size: bool = True
    given: tuple[tuple[str, str], ...] = ()
    alike: float = ALIKE
    tries: int = TRIES

    def __post_init__(self) -> None:
        if not self.severities or not set(self.severities) <= set(SEVERITIES):
            raise ValueError(f"severities are {self.severities}; they must be among {SEVERITIES}")
        if not (-1 <= self.alike <= 1 and 1 <= self.tries <= MOST_TRIES):
            raise ValueError(f"alike is a cosine and tries are 1 to {MOST_TRIES}, got {self.alike} and {self.tries}")
        given = named(self.given)
        for name in self.corruptions:
            wants = {p.wants for p in TABLE if p.name == name}
            if not wants:
                raise unknown("corruption", name, {p.name for p in TABLE})
            if wants.isdisjoint({None, *given}):
                raise AskedWrongly(f"{name} {missing(next(w for w in wants if w is not None))}")

    def chosen(self, modality: Modality) -> tuple[Perturbation, ...]:
        """The perturbations that this modality gets: those that fit and have what they want."""
        given = named(self.given)
        return tuple(
            p if p.wants is None else p.having(opened(p.wants, given[p.wants]))
            for p in of_kind(modality.kind)
            if p.fits(modality) is None
            and (not self.corruptions or p.name in self.corruptions)
            and (p.wants is None or p.wants in given)
        )

    def levels(self, p: Perturbation) -> tuple[int, ...]:
        """The severities that a perturbation is tried at."""
        return tuple(s for s in p.severities if s in self.severities) or p.severities[-1:]

    def applies(self, model: Model, schema: Schema) -> str | None:
        if any(self.chosen(schema.modalities[m]) for m in model.modalities):
            return None
        kinds = sorted({schema.modalities[m].kind for m in model.modalities})
        return f"no perturbation fits these inputs ({', '.join(kinds)})"

    def observe(self, clean: Clean) -> Observation:
        frames, shown = [], []
        for m in clean.model.modalities:
            modality = clean.batch.modalities[m]
            sweep = Sweep(clean, m, self.name, self._scale(modality), self._gate(modality))
            tried = [
                (p, severity, rows)
                for p in self.chosen(modality)
                for severity, rows in zip(self.levels(p), sweep.rows(p, self.levels(p)), strict=True)
            ]
            frames += [*sweep.rows(None, (0,)), *(rows for *_, rows in tried)]
            shown += _shown(sweep, tried)
        return Observation(pl.concat(frames), sorted(shown, key=lambda s: (s.rank, s.sample))[:2])

    def _scale(self, modality: Modality) -> float:
        return scale_of(modality) if self.scale_to_size else 1.0

    def _gate(self, modality: Modality) -> Gate | None:
        given = named(self.given)
        if MEANING not in given or modality.kind != Text.kind:
            return None
        return Gate(Judge(opened(MEANING, given[MEANING])), self.alike, self.tries)

    def conclude(self, evidence: Evidence) -> Conclusion:
        say = Say(self.name)
        whole, sides = read(evidence)
        if not sides:
            reason = "no sample has an input that could be perturbed"
            say.nothing(("mmi", "worst_corruption"), "What perturbed inputs cost", reason)
            return Conclusion(findings=say.findings)
        say_all(say, whole, sides, self.alike)
        drawn = [chart for side in sides for chart in charts(side, self.alike)]
        asked, scaled = self.corruptions, self.scale_to_size
        said = notes(sides, evidence.about, scaled=scaled, asked=asked, alike=self.alike, most=self.tries)
        return Conclusion(findings=say.findings, charts=drawn, notes=list(said))


def _shown(sweep: Sweep, tried: Sequence[tuple[Perturbation, int, pl.DataFrame]]) -> list[Shown]:
    """The sample that the weakest change of this modality turns from right to wrong."""
    batch, m = sweep.clean.batch, sweep.modality
    for p, severity, rows in sorted(tried, key=lambda t: t[1]):
        if (lost := turned(sweep.clean, rows["predicted"])) is not None:
            i, caption = lost
            value = take(batch.inputs[m], [i])
            (new,) = sweep.changed(p, value, (severity,), digests(value))
            title = f"Wrong after {spoken(p.name)} of the {m} at severity {severity}"
            after = {m: (f"{spoken(p.name)} {severity}", new.values)}
            return [before_after(batch, i, title, after, caption=caption, rank=float(severity))]
    return []
