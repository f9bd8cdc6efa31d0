"""Perturbations of table rows, float [N, F]: errors of measurement, units, columns, rounding, slips, loss.

A row knows no spread of its columns, so a change is relative to the number in the cell, or to the row's own numbers.
Noise and loss are MultiBench's kinds (NeurIPS 2021 datasets and benchmarks); all constants are Muroan's own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from muroan.interventions.perturbations.base import Draws, Perturbation, rows
from muroan.interventions.perturbations.signal import MULTIBENCH, OURS, SHARES, dropout
from muroan.modality import Modality, Tabular


def first_columns(draws: Draws, columns: int, count: int) -> Tensor:
    """`count` columns of each row, drawn, the same ones and more for a larger count: long [N, count]."""
    return draws.uniform("columns", columns).argsort(dim=1)[:, :count]


def chosen(draws: Draws, columns: int, count: int) -> Tensor:
    """The same as bool [N, columns]."""
    drawn = first_columns(draws, columns, count)
    return torch.zeros(len(drawn), columns, dtype=torch.bool).scatter_(1, drawn, True)


def relative_noise(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Every cell times 1 + N(0, level²): an error of measurement in proportion to what is measured."""
    return x * (1 + level * draws.normal("noise", x.shape[1]))


def unit_error(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """One column in another unit: multiplied by `level`, a power of ten."""
    return torch.where(chosen(draws, x.shape[1], 1), x * level, x)


def affine_unit(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """A share `level` of columns, one at least, read as Fahrenheit are for Celsius: 1.8 x + 32."""
    count = max(1, round(level * x.shape[1]))
    return torch.where(chosen(draws, x.shape[1], count), 1.8 * x + 32, x)


def swapped_columns(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """A share `level` of columns, two at least, filled in for each other in pairs, as after a wrong header."""
    pairs = min(max(1, round(level * x.shape[1] / 2)), x.shape[1] // 2)
    drawn = first_columns(draws, x.shape[1], 2 * pairs)
    partner = drawn.view(len(x), pairs, 2).flip(2).reshape(len(x), -1)
    to = torch.arange(x.shape[1]).expand(len(x), -1).scatter(1, drawn, partner)
    return x.gather(1, to)


def rounding(x: Tensor, level: int, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Every cell kept to `level` significant bits: off by up to 2^-level of itself. 0 stays 0."""
    part, power = torch.frexp(x)
    return torch.ldexp((part * 2**level).round() / 2**level, power)


def outlier(x: Tensor, level: float, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """One cell off, up or down, by `level` times the largest number of its row: a slip of the keyboard."""
    off = level * x.abs().amax(dim=1, keepdim=True)
    way = torch.where(draws.uniform("way", 1) < 0.5, -off, off)
    return torch.where(chosen(draws, x.shape[1], 1), x + way, x)


def _two_columns(modality: Modality) -> str | None:
    assert isinstance(modality, Tabular)
    return None if len(modality.columns) > 1 else "a table of one column has none to take it for"


row = rows("tabular", OURS)

TABLE: tuple[Perturbation, ...] = (
    row(relative_noise, "noise", (0.05, 0.1, 0.2, 0.3, 0.5), MULTIBENCH),
    row(rounding, "rounding", (5, 4, 3, 2, 1)),
    row(outlier, "slip", (1, 2, 5, 10, 20)),
    row(unit_error, "unit", (0.1, 10.0, 100.0, 1000.0, 10000.0)),
    row(affine_unit, "unit", SHARES),
    row(swapped_columns, "wiring", SHARES, fits=_two_columns),
    row(dropout, "loss", SHARES, MULTIBENCH),
)
