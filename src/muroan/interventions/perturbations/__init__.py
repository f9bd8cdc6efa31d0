"""Natural changes of inputs at five severities: one table over all kinds of input.

A new perturbation is a function and a row in its kind's file. What was drawn for a value depends on a key of its
own (`Draws`), never on the batch that it came in.
"""

from muroan.interventions.perturbations import audio, image, series, tabular, text, tools
from muroan.interventions.perturbations.base import SEVERITIES, Draws, Perturbation

TABLE: tuple[Perturbation, ...] = image.TABLE + text.TABLE + audio.TABLE + series.TABLE + tabular.TABLE

LEFT_OUT: dict[str, str] = {p.name: tools.missing(p.wants) for p in TABLE if p.wants is not None}
"""Perturbations that want what does not ship, and what that is; they are left out until the user names it."""


def of_kind(kind: str) -> tuple[Perturbation, ...]:
    """The perturbations of a kind of input ("image", "text", "audio", ...), in the table's order."""
    return tuple(p for p in TABLE if p.kind == kind)


__all__ = ["LEFT_OUT", "SEVERITIES", "TABLE", "Draws", "Perturbation", "of_kind"]
