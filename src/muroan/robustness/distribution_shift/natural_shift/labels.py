"""How frequent classes are in two data sets, and what of a lost accuracy that explains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muroan.estimate import Estimate
from muroan.finding import TableChart
from muroan.rows import Floats, Rows


@dataclass(frozen=True)
class Labels:
    """Shares of the samples by class [K], in both sets."""

    classes: tuple[str, ...]
    reference: Floats
    audited: Floats

    @staticmethod
    def of(reference: Rows, audited: Rows) -> Labels:
        classes = reference.about.classes
        counts = [np.bincount(_targets(rows), minlength=len(classes)) for rows in (reference, audited)]
        return Labels(classes, *(n / n.sum() for n in counts))

    @property
    def lacking(self) -> list[str]:
        """Classes that one of the sets has alone, and which."""
        shares = zip(self.classes, self.reference, self.audited, strict=True)
        return [f"{c} ({'audited' if a else 'reference'} alone)" for c, r, a in shares if (a > 0) != (r > 0)]

    def parts(self, reference: Rows, audited: Rows) -> tuple[Estimate, Estimate] | None:
        """What is lost within classes, and what comes of other class frequencies; both linearised.

        With w_k the reference's share of class k and r_k, a_k the accuracies, the reweighted drop is the sum of
        w_k (r_k − a_k), and the label part the sum of (w_k − v_k) a_k with v_k the share in the data audited. None
        with fewer than two classes, or where a class is in one of the sets alone.
        """
        if (self.audited > 0).sum() < 2 or self.lacking:
            return None
        theirs, ours, correct = _targets(reference), _targets(audited), audited["correct"]
        n = np.bincount(ours, minlength=len(self.classes))
        right = np.bincount(ours, weights=correct, minlength=len(n)) / np.maximum(n, 1)
        weight = self.reference / np.where(n > 0, self.audited, 1)
        residual = weight[ours] * (correct - right[ours])
        within = reference.more_than(audited, reference["correct"] - right[theirs], residual)
        return within, reference.more_than(audited, right[theirs], correct - residual)

    def table(self) -> TableChart:
        shares = zip(self.classes, self.reference.tolist(), self.audited.tolist(), strict=True)
        rows = [[c, r, a] for c, r, a in shares if r or a]
        return TableChart(title="How frequent classes are", columns=["class", "reference", "audited"], rows=rows)

    def notes(self) -> Iterator[str]:
        moved = 0.5 * float(np.abs(self.audited - self.reference).sum())
        if len(self.classes) > 1:
            apart = "total variation, 0: equal, 1: no class in common; some of it is chance"
            yield f"Class frequencies differ by {moved:.3f} ({apart})."
        if self.lacking:
            yield f"Classes in one of the two only, so nothing was reweighted: {', '.join(self.lacking)}."


def _targets(rows: Rows) -> NDArray[Any]:
    return rows["target"].astype(int)
