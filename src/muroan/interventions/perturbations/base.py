"""What a perturbation is: a natural change of one kind of input, at severities 1 to 5.

Adding one is a function and a row in its file's table. A function takes (values, level, draws, modality, scale)
and returns new values of the same shape and range; it looks at no other sample and draws through `Draws` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from muroan.errors import NotApplicable
from muroan.modality import Modality, Value
from muroan.randomness import Words, key, uniform

SEVERITIES = (1, 2, 3, 4, 5)
NUMBERS_AT_ONCE = 2**16
_LARGEST = 1 - 2.0**-24


def _as_they_are(draws: Tensor) -> Tensor:
    return draws


def _normal(draws: Tensor) -> Tensor:
    """Standard normal draws of uniform ones, in single precision, several times faster than in double."""
    return torch.erfinv(draws.mul_(2).sub_(1).float().clamp_(-_LARGEST, _LARGEST)).mul_(math.sqrt(2))


class Draws:
    """Random numbers for N values, one key each, drawn once and kept.

    The same object serves all severities of a perturbation: what is drawn does not depend on the severity, so a
    higher one is more of the same change (common random numbers), and severities differ by more than chance.
    """

    def __init__(self, keys: Words) -> None:
        self._keys = keys
        self._kept: dict[tuple[str, str, tuple[int, ...]], Any] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def _stream(self, purpose: str) -> Words:
        return self._keys ^ np.uint64(key(purpose))

    def _drawn(self, purpose: str, shape: tuple[int, ...], made: Callable[[Tensor], Tensor]) -> Tensor:
        """What `made` makes of uniform draws (double, its own to write into), float [N, *shape], kept."""
        kept: Tensor | None = self._kept.get((made.__name__, purpose, shape))
        if kept is None:
            stream = self._stream(purpose)
            kept = self._kept[made.__name__, purpose, shape] = torch.empty(len(stream), *shape)
            step = max(1, NUMBERS_AT_ONCE // max(1, math.prod(shape)))
            for start in range(0, len(stream), step):
                part = slice(start, start + step)
                kept[part] = made(torch.from_numpy(uniform(stream[part], *shape)))
        return kept

    def uniform(self, purpose: str, *shape: int) -> Tensor:
        """Uniform in [0, 1], float [N, *shape]; row i depends on the i-th key and the purpose."""
        return self._drawn(purpose, shape, _as_they_are)

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Standard normal, float [N, *shape], up to 5.4 either way."""
        return self._drawn(purpose, shape, _normal)

    def doubles(self, purpose: str, *shape: int) -> NDArray[np.float64]:
        """Uniform in (0, 1) as an array, kept, for code that works in Python numbers; 1 does not occur."""
        place = ("doubles", purpose, shape)
        if place not in self._kept:
            self._kept[place] = uniform(self._stream(purpose), *shape)
        drawn: NDArray[np.float64] = self._kept[place]
        return drawn


Change = Callable[..., Value]
"""(values, level, draws, modality, scale), and `tool` for what wants one, -> new values."""


@dataclass(frozen=True)
class Perturbation:
    """A row of the table.

    levels: the constants at severity 1..5, as the source has them (fewer for what has fewer severities); family: what
    it imitates ("noise", "blur", ...); source: where the constants are from; fits: the reason why a modality cannot
    have it, or None. wants: what does not ship and the user names (`perturbations.tools`): `change` then takes it as
    the keyword `tool`. gated: its words are drawn again until a judge finds the meaning kept (`fidelity`), where the
    user names a judge.
    """

    name: str
    kind: str
    family: str
    change: Change
    levels: tuple[Any, ...]
    source: str
    fits: Callable[[Modality], str | None] = lambda modality: None
    wants: str | None = None
    gated: bool = False

    @property
    def severities(self) -> tuple[int, ...]:
        """The severities that it has: 1 to 5, or fewer."""
        return SEVERITIES[: len(self.levels)]

    def having(self, tool: Any) -> Perturbation:
        """The same with what it wants."""
        return replace(self, change=partial(self.change, tool=tool), wants=None)

    def __call__(self, x: Value, severity: int, draws: Draws, modality: Modality, *, scale: float = 1.0) -> Value:
        """Values of N samples changed; severity 0 gives them back. scale: of lengths in pixels (see `image`)."""
        if severity == 0 or len(x) == 0:
            return x
        if severity not in self.severities:
            raise ValueError(f"severity is {severity}; it must be 0 to {self.severities[-1]}")
        if self.wants is not None:
            raise NotApplicable(f"{self.name}: {self.wants} is not given")
        reason = self.fits(modality)
        if reason is not None:
            raise NotApplicable(f"{self.name}: {reason}")
        return self.change(x, self.levels[severity - 1], draws, modality, scale)


Row = Callable[..., Perturbation]


def rows(kind: str, source: str) -> Row:
    """A way to write rows of one kind and mostly one source: (change, family, levels), named as the change is."""

    def row(change: Change, family: str, levels: tuple[Any, ...], source: str = source, **more: Any) -> Perturbation:
        name = more.pop("name", None) or change.__name__
        return Perturbation(name, kind, family, change, levels, source, **more)

    return row
