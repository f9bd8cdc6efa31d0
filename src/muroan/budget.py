"""What an intervention may change, per modality."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from muroan.errors import AskedWrongly
from muroan.modality import Modality, Text


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most that may change in one modality of one sample. Zero of everything means: leave it alone.

    radius: norm of the change in the modality's value space (pixels in [0, 1], so 8/255 is the usual 8).
    norm: "inf" or "2". words: how many words may be replaced. share: part of the points that may be erased,
    0 to 1 of the union of erased points over the modality's points.
    """

    radius: float = 0.0
    norm: str = "inf"
    words: int = 0
    share: float = 0.0

    def __post_init__(self) -> None:
        if self.norm not in ("inf", "2"):
            raise AskedWrongly(f"norm is {self.norm!r}; a budget knows 'inf' and '2'")
        if not (self.radius >= 0 and self.words >= 0 and 0 <= self.share <= 1):  # NaN is refused with the negative
            raise AskedWrongly(f"a budget cannot be negative, nor a share above 1: {self}")

    @property
    def p(self) -> float:
        return float(self.norm)

    @property
    def empty(self) -> bool:
        return self.radius == 0 and self.words == 0 and self.share == 0

    def scaled(self, factor: float) -> Budget:
        """The budget times `factor`, words rounded down."""
        return Budget(
            radius=self.radius * factor,
            norm=self.norm,
            words=int(self.words * factor + 1e-9),  # 100 · 0.29 is 29 words, though 28.999… in floating point
            share=min(1.0, self.share * factor),
        )


Budgets = Mapping[str, Budget]


def movable(modalities: Mapping[str, Modality], budgets: Budgets) -> dict[str, Budget]:
    """Of these modalities, in their order, the continuous ones with a radius to move in."""
    return {m: budgets[m] for m, k in modalities.items() if m in budgets and budgets[m].radius > 0 and k.continuous}


def worded(modalities: Mapping[str, Modality], budgets: Budgets) -> dict[str, Budget]:
    """Of these modalities, in their order, the texts whose words may be replaced."""
    return {m: budgets[m] for m, k in modalities.items() if m in budgets and budgets[m].words and isinstance(k, Text)}


RADII: Mapping[str, float] = {"image": 8 / 255, "audio": 0.01}
"""Usual radius (L∞) per kind of modality, in its value space; other kinds have no scale that is known beforehand."""


def usual(
    kinds: Mapping[str, str],
    *,
    radii: Iterable[tuple[str, float]] = (),
    words: int = 0,
    norm: str = "inf",
    by_kind: Mapping[str, float] = RADII,
) -> dict[str, Budget]:
    """Modality -> what an attacker may change, of modalities (name -> kind) those that can be attacked.

    radii: by modality name, over those of its kind, `by_kind`; a kind without one is not attacked. words: of each text.
    """
    given = dict(radii)
    found = {
        m: Budget(words=words) if kind == Text.kind else Budget(radius=given.get(m, by_kind.get(kind, 0.0)), norm=norm)
        for m, kind in kinds.items()
    }
    return {m: b for m, b in found.items() if not b.empty}
