"""What a reader of the corruptions probe's figures should know, from its evidence and settings alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from muroan.evidence import About
from muroan.interventions.perturbations import of_kind
from muroan.interventions.perturbations.fidelity import MEANING
from muroan.interventions.perturbations.sentences import SENTENCE
from muroan.interventions.perturbations.tools import TOOLS, missing
from muroan.robustness.distribution_shift.corruptions.sides import Side


def notes(
    sides: Sequence[Side], about: About, *, scaled: bool, asked: Sequence[str], alike: float, most: int
) -> list[str]:
    """asked: the perturbations that the user asked for, none: all; alike, most: of the fidelity gate."""
    if not sides:
        return []
    kinds = {about.modalities[s.modality] for s in sides}
    out = [note for s in sides for note in [_counted(s), *_unchanged(s)]]
    if "image" in kinds:
        how = "scaled to the picture's size" if scaled else "those of pictures of 224 pixels, not scaled"
        out.append(f"Constants of pictures are ImageNet-C's; lengths in pixels are {how}.")
    if "text" in kinds:
        out += _meaning([s for s in sides if about.modalities[s.modality] == "text"], alike, most)
    skipped = [m for m in about.modalities if m not in {s.modality for s in sides}]
    if skipped:
        out.append(f"Not perturbed (no perturbation fits, or no sample has it): {', '.join(skipped)}.")
    out += _left_out(sides, about, asked)
    out.append("What a severity is differs between perturbations: compare severities within one.")
    return out


def _counted(s: Side) -> str:
    few = [c for c, o in s.of.items() if o.severities != s.severities]
    fewer = f" ({', '.join(few)}: fewer, and each counts as one perturbation)" if few else ""
    severities = ", ".join(map(str, s.severities))
    return f"{s.modality}: {len(s.of)} perturbations at severities {severities}{fewer} on {len(s.rows)} samples."


def _unchanged(s: Side) -> list[str]:
    shares = {c: float(o.changed.mean()) for c, o in s.of.items()}
    rewritten = [c for c, o in s.of.items() if o.family == SENTENCE]
    same = ", ".join(f"{c} {v:.0%}" for c, v in shares.items() if v < 0.99 and c not in rewritten)
    out = [f"{s.modality}: some inputs held nothing that could be changed; changed were: {same}."] if same else []
    if rewritten:
        said = ", ".join(f"{c} {shares[c]:.0%}" for c in rewritten)
        out.append(f"{s.modality}: rewrites that came back empty or unchanged leave the text; changed were: {said}.")
    return out


def _meaning(sides: Sequence[Side], alike: float, most: int) -> list[str]:
    short = "Of a short text at least one word is touched at every severity."
    judged = []
    for s in sides:
        of = []
        for c, o in s.of.items():
            if o.similarity is not None and o.tries is not None:
                cosine, below = o.similarity.mean(dtype=np.float64), (o.similarity < alike).mean()
                tries = "" if o.family == SENTENCE else f", {o.tries.mean():.1f} tries"
                of.append(f"{c} {cosine:.3f}{tries}, {below:.0%} never alike")
        if of:
            judged.append(f"{s.modality}: {'; '.join(of)}.")
    if not judged:
        return [
            "Words that are dropped, moved or replaced may change the right answer, and no check of meaning was "
            f"made ({missing(MEANING)}): losses under changes of words are an upper bound. {short}"
        ]
    return [
        f"A judge of meaning looked at changes of words and style: drawn again until the cosine with the original was "
        f"{alike:g}, {most} times at most, then accepted; a rewrite has one try. Not of characters, nor of what was "
        "translated there and back. A judge lets through what it does not notice, so losses may still be too large. As "
        f"each severity is drawn until it passes, a higher one need not be the stronger change. {short}",
        *(f"Mean cosine with the original, {found}" for found in judged),
    ]


def _left_out(sides: Sequence[Side], about: About, asked: Sequence[str]) -> list[str]:
    """What the user could have, and what does not fit; what wants the same together."""
    out: dict[str, tuple[list[str], str]] = {}
    for s in sides:
        for p in of_kind(about.modalities[s.modality]):
            if p.name in s.of or (asked and p.name not in asked):
                continue
            if p.wants is None:
                what = reason = f"does not fit the {s.modality} of this data set"
            else:
                what, reason = TOOLS[p.wants].what, missing(p.wants)
            names, _ = out.setdefault(what, ([], reason))
            names += [p.name] if p.name not in names else []
    return [f"Left out: {', '.join(names)} ({reason})." for names, reason in out.values()]
