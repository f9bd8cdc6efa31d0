"""Macro-F1 that is lost from one answer to another, with what its bootstrap needs of the rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from muroan.estimate.totals import Totals
from muroan.rows import Floats, Rows, What


def macro_f1(right: Floats, said: Floats, true: Floats) -> Floats:
    """Mean over classes that occur of 2 · right / (said + true), from counts [..., K] -> [...]: 1 all right, 0 none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.where(true > 0, 2 * right / (said + true), np.nan)
        # A class that a resample has none of says nothing in it.
        return np.asarray(np.nansum(each, axis=-1) / (true > 0).sum(axis=-1))


def counts(rows: Rows, answers: Sequence[What]) -> Totals:
    """Outcomes [N, (1 + 2 · A) · K]: the truth, then of each of A answers what was said and what of it was right.

    The imaginary samples of `totals` are of the most frequent class: right in the first answer alone, or in all but it.
    """
    one = np.eye(len(rows.about.classes))
    truth = one[rows["target"].astype(int)]
    tables = [truth]
    for answer in answers:
        said = one[rows[answer].astype(int)]
        tables += [said, said * truth]
    common = one[int(truth.sum(axis=0).argmax())]
    ways = []
    for first in (1.0, 0.0):
        here = [first] + [1 - first] * (len(answers) - 1)
        ways.append(np.concatenate([common, *(h * common for h in here for _ in range(2))]))
    return rows.totals(tables, ways)


def drops(table: Floats, k: int) -> Floats:
    """Macro-F1 of the first answer minus that of each other, from totals [B, (1 + 2 · A) · K]: [B, A − 1]."""
    parts = table.reshape(len(table), -1, k)
    f1 = macro_f1(parts[:, 2::2], parts[:, 1::2], parts[:, :1])
    return np.asarray(f1[:, :1] - f1[:, 1:])
