"""What a reader of the corruptions probe's figures should know, from its evidence and settings alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from muroan.evidence import About
from muroan.interventions.perturbations import of_kind
from muroan.interventions.perturbations.fidelity import MEANING
from muroan.interventions.perturbations.sentences import SENTENCE
from muroan.interventions.perturbations.tools import TOOLS, missing
from muroan.robustness.distribution_shift.corruptions.sides import Judged, Outcome, Side


def notes(
    sides: Sequence[Side], about: About, *, scaled: bool, asked: Sequence[str], alike: float, most: int
) -> Iterator[str]:
    """asked: the perturbations that the user asked for, none: all; alike, most: of the fidelity gate."""
    of_kinds = {kind: [s for s in sides if about.modalities[s.modality] == kind] for kind in ("image", "text")}
    for side in sides:
        yield _counted(side)
        yield from _unchanged(side)
    if of_kinds["image"]:
        how = "scaled to the picture's size" if scaled else "those of pictures of 224 pixels, not scaled"
        yield f"Constants of pictures are ImageNet-C's; lengths in pixels are {how}."
    if of_kinds["text"]:
        yield from _meaning(of_kinds["text"], alike, most)
    if skipped := [m for m in about.modalities if m not in {s.modality for s in sides}]:
        yield f"Not perturbed (no perturbation fits, or no sample has it): {', '.join(skipped)}."
    yield from _left_out(sides, about, asked)
    yield "What a severity is differs between perturbations: compare severities within one."


def _counted(s: Side) -> str:
    few = [c for c, o in s.of.items() if o.severities != s.severities]
    fewer = f" ({', '.join(few)}: fewer, and each counts as one perturbation)" if few else ""
    severities = ", ".join(map(str, s.severities))
    return f"{s.modality}: {len(s.of)} perturbations at severities {severities}{fewer} on {len(s.rows)} samples."


def _unchanged(s: Side) -> Iterator[str]:
    shares = {c: float(o.changed.mean()) for c, o in s.of.items()}
    rewritten = [c for c, o in s.of.items() if o.family == SENTENCE]
    if same := ", ".join(f"{c} {v:.0%}" for c, v in shares.items() if v < 0.99 and c not in rewritten):
        yield f"{s.modality}: some inputs held nothing that could be changed; changed were: {same}."
    if all_of := ", ".join(f"{c} {shares[c]:.0%}" for c in rewritten):
        yield f"{s.modality}: rewrites that came back empty or unchanged leave the text; changed were: {all_of}."


def _meaning(sides: Sequence[Side], alike: float, most: int) -> Iterator[str]:
    short = "Of a short text at least one word is touched at every severity."
    judged = {s.modality: [_alike(c, o, o.judged, alike) for c, o in s.of.items() if o.judged] for s in sides}
    if not any(judged.values()):
        yield (
            "Words that are dropped, moved or replaced may change the right answer, and no check of meaning was "
            f"made ({missing(MEANING)}): losses under changes of words are an upper bound. {short}"
        )
        return
    yield (
        f"A judge of meaning looked at changes of words and style: drawn again until the cosine with the original was "
        f"{alike:g}, {most} times at most, then accepted; a rewrite has one try. Not of characters, nor of what was "
        "translated there and back. A judge lets through what it does not notice, so losses may still be too large. As "
        f"each severity is drawn until it passes, a higher one need not be the stronger change. {short}"
    )
    for m, changes in judged.items():
        if changes:
            yield f"Mean cosine with the original, {m}: {'; '.join(changes)}."


def _alike(c: str, o: Outcome, judged: Judged, alike: float) -> str:
    cosine, never = judged.similarity.mean(dtype=np.float64), (judged.similarity < alike).mean()
    tries = "" if o.family == SENTENCE else f", {judged.tries.mean():.1f} tries"
    return f"{c} {cosine:.3f}{tries}, {never:.0%} never alike"


def _left_out(sides: Sequence[Side], about: About, asked: Sequence[str]) -> Iterator[str]:
    """What the user could have, and what does not fit; what wants the same together."""
    reasons: dict[str, str] = {}
    names: dict[str, dict[str, None]] = {}
    for s in sides:
        for p in of_kind(about.modalities[s.modality]):
            if p.name in s.of or (asked and p.name not in asked):
                continue
            what = f"does not fit the {s.modality} of this data set" if p.wants is None else TOOLS[p.wants].what
            reasons.setdefault(what, what if p.wants is None else missing(p.wants))
            names.setdefault(what, {})[p.name] = None
    yield from (f"Left out: {', '.join(of)} ({reasons[what]})." for what, of in names.items())
