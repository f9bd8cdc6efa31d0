"""Natural changes of inputs at five severities: one table over all kinds of input.

A new perturbation is a function and a row in its kind's file. What was drawn for a value depends on a key of its
own (`Draws`), never on the batch that it came in.
"""

from muroan.robustness.distribution_shift.perturbations import audio, image, series, tabular, text
from muroan.robustness.distribution_shift.perturbations.base import SEVERITIES, Draws, Perturbation

TABLE: tuple[Perturbation, ...] = image.TABLE + text.TABLE + audio.TABLE + series.TABLE + tabular.TABLE

LEFT_OUT: dict[str, str] = {
    "snow": "its flakes have a size in pixels that does not scale",
    "frost": "needs six textures that do not ship",
    "stylize": "needs paintings and style-transfer weights that do not ship",
    "sentence": "the five sentence-level rewrites need language models that do not ship",
}
"""Perturbations of the source that are not here, and why."""


def of_kind(kind: str) -> tuple[Perturbation, ...]:
    """The perturbations of a kind of input ("image", "text", "audio", ...), in the table's order."""
    return tuple(p for p in TABLE if p.kind == kind)


__all__ = ["LEFT_OUT", "SEVERITIES", "TABLE", "Draws", "Perturbation", "of_kind"]
