"""R02, natural shift: do models that lose less under synthetic changes lose less under natural shifts?

Three natural shifts of real data, each over a population of small models that differ in size, decay and augmentation:

- vendor: which group is an emoji of? Trained on Google's pictures, asked about the same unseen emoji as Google and as
  Twitter draw them (paired);
- arm: which exercise is it? Trained on right arms, asked about right and left arms of people not seen;
- subject: trained on both arms, asked about new recordings of known people and of people not seen.

The watch's shifts are averaged over three folds of people, so every person is asked about once as a new one; a recipe
for emoji is trained from three seeds, whose outcomes are averaged. Synthetic changes are all of the perturbation table
that fit, at the middle severity, on unshifted samples. These are halved: MMI comes from one half, the natural drop from
the other, or chance in the accuracy that both are measured from would make them agree. Beside them stand accuracy
without any shift as the predictor, and how well the natural drop on half of the clusters foretells that on the other:
where that does not repeat, there is no order that anything could foretell.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from _shift_models import PICTURE_MODELS, SERIES_MODELS, Kept, Member, trained
from numpy.typing import NDArray

from muroan.batch import Batch
from muroan.content import digests
from muroan.data.emoji import EmojiData, emoji_groups, rows_of
from muroan.data.watch import SUBJECTS, watch, watch_other_arm
from muroan.dataset import Dataset, Splits
from muroan.estimate import difference
from muroan.interventions.perturbations import Draws, of_kind
from muroan.interventions.perturbations.image import scale_of
from muroan.model import TorchModel
from muroan.randomness import choose, key, sample_keys
from muroan.robustness.distribution_shift.corruptions.sides import mmi
from muroan.robustness.distribution_shift.natural_shift.agreement import Agreement, agreement_by_change, rank_agreement

SEVERITIES = (3,)
FOLDS = (SUBJECTS[:3], SUBJECTS[3:6], SUBJECTS[6:])
SEEDS = (0, 1, 2)
HALVINGS = 200
FEWEST = 10
"""Samples of a class or a person on each side."""

Floats = NDArray[np.float64]
Names = NDArray[np.str_]
Models = Sequence[Sequence[TorchModel]]
"""Recipes, and the models of each that differ in their seed."""
Change = tuple[str, str]
"""A modality and the name of a perturbation of it."""


@dataclass(frozen=True)
class Half:
    """Right or wrong of every model on half of the unshifted samples: plain [models, N], changed[change] [models, N],
    the mean over `SEVERITIES`; shifted [models, M]: on the natural shift. units: what else may be ranked (classes,
    people), and clusters, of the N and of the M samples."""

    plain: Floats
    changed: Mapping[Change, Floats]
    shifted: Floats
    units: tuple[Names, Names]
    clusters: tuple[Names, Names]

    @property
    def accuracy(self) -> Floats:
        """[models]."""
        return np.asarray(self.plain.mean(axis=1))

    @property
    def under(self) -> Floats:
        """Accuracy under synthetic changes, all alike: [models]."""
        return np.asarray(np.mean([x.mean(axis=1) for x in self.changed.values()], axis=0))

    @property
    def mmi(self) -> Floats:
        """[models]."""
        return np.asarray([mmi(float(c), float(u)) for c, u in zip(self.accuracy, self.under, strict=True)])

    @property
    def natural(self) -> Floats:
        """Accuracy that the natural shift costs: [models]."""
        return np.asarray(self.accuracy - self.shifted.mean(axis=1))

    def synthetic(self) -> dict[str, Floats]:
        """Accuracy that each synthetic change costs."""
        return {f"{c} of the {m}": self.accuracy - x.mean(axis=1) for (m, c), x in self.changed.items()}

    @staticmethod
    def joined(parts: Sequence[Half]) -> Half:
        """Folds one after another."""
        sides = (0, 1)
        return Half(
            np.concatenate([p.plain for p in parts], axis=1),
            {c: np.concatenate([p.changed[c] for p in parts], axis=1) for c in parts[0].changed},
            np.concatenate([p.shifted for p in parts], axis=1),
            (np.concatenate([p.units[0] for p in parts]), np.concatenate([p.units[1] for p in parts])),
            # A recording may be in two folds, on models that have nothing in common.
            tuple(np.concatenate([np.char.add(p.clusters[s], f"/{k}") for k, p in enumerate(parts)]) for s in sides),  # type: ignore[arg-type]
        )


def batch_of(*data: Dataset | None) -> Batch:
    """All samples of these."""
    found = [d.load(range(len(d))).batch for d in data if d is not None]
    return Batch.concat([b for b in found if b is not None])


def right(models: Models, batch: Batch) -> Floats:
    """[recipes, N], the share of seeds."""
    with torch.no_grad():
        hits = [[m.predict(batch.inputs).argmax(dim=1) == batch.targets for m in seeds] for seeds in models]
    return np.stack([torch.stack(h).double().mean(dim=0).numpy() for h in hits])


def under_changes(models: Models, batch: Batch) -> dict[Change, Floats]:
    """The same under every perturbation that fits, made once for all models."""
    out: dict[Change, Floats] = {}
    for m, modality in batch.modalities.items():
        scale = scale_of(modality)
        contents = digests(batch.inputs[m])
        for p in of_kind(modality.kind):
            if p.fits(modality) is not None or p.wants is not None:
                continue
            draws = Draws(sample_keys(contents, "r02n", m, p.name))
            asked = [s for s in SEVERITIES if s in p.severities] or [p.severities[-1]]
            made = (p(batch.inputs[m], s, draws, modality, scale=scale) for s in asked)
            out[m, p.name] = np.mean([right(models, batch.with_inputs(**{m: x})) for x in made], axis=0)
    return out


def names(values: Sequence[str] | None) -> Names:
    assert values is not None
    return np.asarray(values, dtype=str)


def classes(batch: Batch, of: Sequence[str]) -> Names:
    return np.asarray([of[k] for k in batch.targets.tolist()], dtype=str)


def vendor() -> list[Half]:
    """The emoji that no model was trained on, as two vendors draw them; both halves have their own emoji."""
    google = emoji_groups()
    members, reference = google.members, google.reference
    assert members is not None
    assert reference is not None
    kept = Kept(members)
    models = [[trained(m, kept, 100 * k + seed) for seed in SEEDS] for k, m in enumerate(PICTURE_MODELS)]
    out = []
    for half in (google.audited, reference):
        plain = batch_of(half)
        twitter = EmojiData(rows_of(half.ids), "twitter", classes=half.schema.classes, vendor="twitter")
        kinds, by = classes(plain, half.schema.classes), names(plain.clusters)
        out.append(
            Half(
                right(models, plain),
                under_changes(models, plain),
                right(models, batch_of(twitter)),
                (kinds, kinds),
                (by, by),
            )
        )
    return out


def halved(batch: Batch) -> tuple[Batch, Batch]:
    """Every other recording of each exercise."""
    by = names(batch.clusters)
    order = sorted({(int(k), c) for k, c in zip(batch.targets.tolist(), by.tolist(), strict=True)})
    first = {c for n, (_, c) in enumerate(order) if n % 2 == 0}
    inside = [c in first for c in by]
    return (
        batch.take([i for i, here in enumerate(inside) if here]),
        batch.take([i for i, here in enumerate(inside) if not here]),
    )


def worn(make: Callable[[Sequence[str | int]], Splits], unit: Callable[[Batch], Names]) -> list[Half]:
    """The watch in three folds of people; all that is shifted is asked about beside either half."""
    parts: list[list[Half]] = [[], []]
    for fold, away in enumerate(FOLDS):
        splits = make(away)
        assert splits.members is not None
        kept = Kept(splits.members)
        models = [[trained(m, kept, 100 * fold + k)] for k, m in enumerate(SERIES_MODELS)]
        shifted = batch_of(splits.audited)
        for side, half in zip(parts, halved(batch_of(splits.reference)), strict=True):
            side.append(
                Half(
                    right(models, half),
                    under_changes(models, half),
                    right(models, shifted),
                    (unit(half), unit(shifted)),
                    (names(half.clusters), names(shifted.clusters)),
                )
            )
    return [Half.joined(side) for side in parts]


def told(found: Agreement) -> str:
    """An agreement in a line."""
    return f"{found.estimate}, p={found.p:.3f}"


def repeats(halves: Sequence[Half], seed: str) -> float:
    """How well the natural drop on half of the clusters foretells that on the others: mean Spearman over halvings."""
    from scipy.stats import spearmanr

    one, other = halves
    plain, by = np.concatenate([one.plain, other.plain], axis=1), np.concatenate([one.clusters[0], other.clusters[0]])
    paired = one.plain.shape == one.shifted.shape
    shifted = np.concatenate([one.shifted, other.shifted], axis=1) if paired else one.shifted
    by_shifted = by if paired else one.clusters[1]
    found = []
    for k in range(HALVINGS):
        drawn = []
        for c in (by, by_shifted):
            known = sorted(set(c.tolist()))
            half = {known[i] for i in choose(known, len(known) // 2, "r02n halves", seed, k)}
            drawn.append(np.asarray([x in half for x in c]))
        drops = [plain[:, p].mean(axis=1) - shifted[:, s].mean(axis=1) for p, s in (drawn, [~d for d in drawn])]
        found.append(float(spearmanr(*drops).statistic))
    return round(float(np.mean(found)), 2)


def across_units(changed: Half, natural: Half) -> Any:
    """The same question over classes or people: is what suffers one way what suffers the other? Mean of models."""
    lost = (changed.plain - np.mean(list(changed.changed.values()), axis=0)).mean(axis=0)
    table: dict[str, tuple[float, float]] = {}
    for unit in sorted(set(natural.units[1].tolist())):
        tried, here, there = changed.units[0] == unit, natural.units[0] == unit, natural.units[1] == unit
        if min(tried.sum(), here.sum(), there.sum()) >= FEWEST:
            drop = natural.plain[:, here].mean() - natural.shifted[:, there].mean()
            table[unit] = (round(float(lost[tried].mean()), 3), round(float(drop), 3))
    return {
        "agreement": told(rank_agreement(*zip(*table.values(), strict=True))),
        "unit: synthetic drop, natural drop": table,
    }


def compared(changed: Half, natural: Half) -> dict[str, Any]:
    """What one half under synthetic changes says of the natural drop measured from the other half."""
    by_change = agreement_by_change(changed.synthetic(), natural.natural)
    best, strongest = next(iter(by_change.items()))
    verdict = "may be chance"
    if strongest.adjusted <= 0.05:
        verdict = "foretells" if strongest.estimate.value > 0 else "foretells in reverse: who stands it loses more"
    return {
        "MMI and relative natural drop (the claim)": told(
            rank_agreement(changed.mmi, natural.natural / natural.accuracy)
        ),
        "mean synthetic drop and natural drop": told(rank_agreement(changed.accuracy - changed.under, natural.natural)),
        "accuracy under synthetic changes and under the natural shift": told(
            rank_agreement(changed.under, natural.shifted.mean(axis=1))
        ),
        "control: accuracy without shift and under the natural shift": told(
            rank_agreement(changed.accuracy, natural.shifted.mean(axis=1))
        ),
        "control: accuracy without shift and natural drop": told(rank_agreement(changed.accuracy, natural.natural)),
        "by change, the strongest of all": {
            c: f"{a.estimate}, p={a.p:.3f}, over all {len(by_change)} looked at {a.adjusted:.3f}"
            for c, a in list(by_change.items())[:4]
        },
        "the best change": f"{best}: {verdict}, adjusted p={strongest.adjusted:.3f}",
    }


def measured(halves: Sequence[Half], population: Sequence[Member], name: str) -> tuple[dict[str, Any], str]:
    """Every figure of one natural shift, and its verdict."""
    one, other = halves
    found = [rank_agreement(a.mmi, b.natural / b.accuracy).estimate for a, b in ((one, other), (other, one))]
    again = repeats(halves, name)
    if again <= 0:
        verdict = f"not measurable here: which recipe loses more does not repeat on other clusters ({again})"
    elif all(e.low > 0 for e in found):
        verdict = "holds"
    elif all(e.high < 0 for e in found):
        verdict = "does not hold here"
    else:
        verdict = f"undecided: {' and '.join(str(e) for e in found)}"
    natural = (one.natural + other.natural) / 2
    drops = {
        f"natural drop of the {what} hurt recipe, {population[k].name}": str(
            difference(other.plain[k], other.shifted[k], *other.clusters)
        )
        for what, k in (("least", int(natural.argmin())), ("most", int(natural.argmax())))
    }
    return {
        "recipe: accuracy, natural drop, MMI (means of both halves)": {
            m.name: [
                round(float((a + b) / 2), 3)
                for a, b in (
                    (one.accuracy[k], other.accuracy[k]),
                    (one.natural[k], other.natural[k]),
                    (one.mmi[k], other.mmi[k]),
                )
            ]
            for k, m in enumerate(population)
        },
        "samples": [h.plain.shape[1] for h in halves] + [other.shifted.shape[1]],
        **drops,
        "changes on the first half, natural drop from the second": compared(one, other),
        "the other way round": compared(other, one),
        "control: half of the clusters foretells the natural drop on the others (mean Spearman)": again,
        "across classes or people": [across_units(one, other), across_units(other, one)],
    }, verdict


def run() -> dict[str, Any]:
    """Three shifts, their figures, a verdict each."""
    torch.manual_seed(key("r02n") % 2**31)
    kinds = watch().audited.schema.classes
    beds: dict[str, tuple[Sequence[Half], Sequence[Member]]] = {
        "vendor (emoji, Google to Twitter)": (vendor(), PICTURE_MODELS),
        "arm (watch, right to left)": (worn(watch_other_arm, lambda b: classes(b, kinds)), SERIES_MODELS),
        "subject (watch, known to new people)": (worn(watch, lambda b: names(b.groups["subject"])), SERIES_MODELS),
    }
    found = {name: measured(halves, population, name) for name, (halves, population) in beds.items()}
    return {
        "row": "R02, natural shift",
        "claim": "Models that lose less under synthetic changes (MMI) lose less under a natural shift: over models, "
        "the rank correlation of MMI and the relative natural drop is above 0, with its interval.",
        "source": "the hope behind Qiu et al., DMLR 2024 (arXiv 2212.08044); Taori et al., NeurIPS 2020 (arXiv "
        "2007.00644) found of ImageNet models that robustness to synthetic shifts says little about natural ones",
        "measured": {
            **{name: figures for name, (figures, _) in found.items()},
            "how": f"severity {SEVERITIES} of every perturbation that fits and needs nothing beside; Spearman over "
            "models with a bootstrap interval over models; p of permutations; of changes the strongest four are "
            "listed, adjusted for all that were looked at (max-t)",
            "what this is not": "evidence about large models; models of one population share data and architecture, "
            "so that their order under any change owes much to augmentation",
        },
        "verdict": {name: verdict for name, (_, verdict) in found.items()},
        "command": "python reproductions/r02n.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
