"""The fidelity gate: a changed text is drawn again until a judge finds that it still says what the original says.

MM_Robustness accepts a text whose code has a cosine of 0.9 or more with the original's, and the hundredth try in any
case; it does so for changes of words and of style, not of characters, and not for what was translated there and back.
The judge is a sentence encoder that the user names (`tools.TOOLS["meaning"]`). It is a model too: it lets through what
it does not notice ("not" often costs little), so the gate bounds the damage and proves nothing.

The first try is what is drawn without a gate. A text's tries depend on its own key alone, so it is accepted at the same
one alone and in any batch. Each severity is drawn until it passes: a higher one need not be more of the same change any
more, and a mild change that passes late may be accepted for a severe one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from muroan.errors import AskedWrongly
from muroan.interventions.language_models import sentence_encoder
from muroan.interventions.perturbations.base import Draws, Perturbation
from muroan.interventions.perturbations.sentences import SENTENCE
from muroan.modality import Modality, Value
from muroan.randomness import Words, key
from muroan.registry import open_function

ALIKE, TRIES = 0.9, 100
"""The cosine from which a text is accepted, and the try that is accepted in any case."""
AHEAD = 128
"""Texts drawn at once: where few are left, several tries ahead, which costs less than a call of the judge each."""

Encoder = Callable[[list[str]], Any]
"""Texts -> codes [N, D], a tensor or what becomes one."""
Floats = NDArray[np.float64]

MEANING = "meaning"
"""The judge's name in `given`."""
JUDGES = "hf:FOLDER of a sentence encoder, or python:package.module:name, a function texts -> codes [N, D]"


def open_judge(ref: str) -> Encoder:
    """A folder's encoder (the mean of its last layer over the tokens), or a function."""
    return sentence_encoder(ref) if ref.startswith("hf:") else open_function(ref)


@dataclass
class Judge:
    """Cosines of changed texts with their originals; what was asked once is not asked again.

    Codes of changed texts are not kept, only their cosines: an original has many changes.
    """

    encoder: Encoder
    _originals: dict[str, Tensor] = field(default_factory=dict)
    _found: dict[tuple[str, str], float] = field(default_factory=dict)

    def _codes(self, texts: Iterable[str]) -> dict[str, Tensor]:
        distinct = list(dict.fromkeys(texts))
        if not distinct:
            return {}
        try:
            codes = torch.as_tensor(self.encoder(distinct), dtype=torch.float32).detach()
        except (TypeError, ValueError) as error:
            raise AskedWrongly(f"the judge of meaning gave what are no codes [N, D]: {error}") from error
        if codes.ndim != 2 or len(codes) != len(distinct) or not bool(torch.isfinite(codes).all()):
            raise AskedWrongly(
                f"the judge of meaning gave {tuple(codes.shape)} numbers for {len(distinct)} texts; it takes a list of "
                "texts and returns one code of finite numbers each, [N, D]"
            )
        return dict(zip(distinct, functional.normalize(codes, dim=1), strict=True))

    def cosine(self, before: Sequence[str], after: Sequence[str]) -> Floats:
        """Cosine of each text with what it was [N], to five decimals: no rounding of a batch moves a verdict."""
        asked = {p for p in zip(before, after, strict=True) if p[0] != p[1]} - self._found.keys()
        pairs = sorted(asked)
        # Originals first: a change of one text may be another text.
        wanted = (t for side in zip(*pairs, strict=True) for t in side if t not in self._originals)
        new = self._codes(wanted)
        self._originals |= {b: new[b] for b, _ in pairs if b in new}
        for b, a in pairs:
            code = self._originals[a] if a in self._originals else new[a]
            self._found[b, a] = round(float(self._originals[b] @ code), 5)
        return np.array([1.0 if b == a else self._found[b, a] for b, a in zip(before, after, strict=True)])

    def forget(self) -> None:
        """Drops the cosines, not the originals' codes: another perturbation makes other texts."""
        self._found.clear()


@dataclass(frozen=True)
class Changed:
    """n changed values; where a judge looked, the cosine with the original and how many were drawn, each [n]."""

    values: Value
    similarity: Tensor | None = None
    tries: Tensor | None = None


def redrawn(p: Perturbation) -> bool:
    """Whether another try can give another text: a rewriter has one answer."""
    return p.family != SENTENCE


@dataclass(frozen=True)
class Gate:
    """alike: the cosine from which a text is accepted; tries: how many are drawn at most; the last is accepted."""

    judge: Judge
    alike: float = ALIKE
    tries: int = TRIES

    def __call__(
        self, p: Perturbation, texts: list[str], severity: int, keys: Words, modality: Modality, *, scale: float = 1.0
    ) -> Changed:
        """Texts changed by `p`, those that are not alike drawn again. keys: one a text, for all of its tries."""
        out = list(p(texts, severity, Draws(keys), modality, scale=scale))
        similarity = self.judge.cosine(texts, out)
        took = np.ones(len(texts), dtype=np.int16)
        most = self.tries if redrawn(p) else 1
        below = np.flatnonzero(similarity < self.alike)
        done = 1
        while done < most and len(below):
            ahead = min(most - done, max(1, AHEAD // len(below)))
            origin = [texts[i] for i in below]
            drawn = [
                p(origin, severity, Draws(keys[below] ^ np.uint64(key("try", done + k))), modality, scale=scale)
                for k in range(ahead)
            ]
            found = self.judge.cosine(origin * ahead, [t for one in drawn for t in one]).reshape(ahead, len(below))
            passed = found >= self.alike
            at = np.where(passed.any(axis=0), passed.argmax(axis=0), ahead - 1)
            for j, (i, k) in enumerate(zip(below, at, strict=True)):
                out[i], similarity[i], took[i] = drawn[k][j], found[k, j], done + k + 1
            below = below[~passed.any(axis=0)]
            done += ahead
        return Changed(out, torch.from_numpy(similarity).float(), torch.from_numpy(took))


def changed(
    p: Perturbation,
    values: Value,
    severities: Sequence[int],
    keys: Words,
    modality: Modality,
    gate: Gate | None = None,
    *,
    scale: float = 1.0,
) -> Iterator[Changed]:
    """The values at one severity after the other: changed pictures are made, used and let go."""
    draws = Draws(keys)
    for s in severities:
        if gate is None:
            yield Changed(p(values, s, draws, modality, scale=scale))
        else:
            yield gate(p, values, s, keys, modality, scale=scale)
