"""What a failure looks like: the wrong answer that the model was surest of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from muroan.clean import Clean
from muroan.panels import panel
from muroan.probe import Shown


def sure_and_wrong(
    clean: Clean, confidence: ArrayLike, logits: Tensor, *, missing: Sequence[str] = (), condition: str = ""
) -> list[Shown]:
    """One sample of a batch, or none if no answer is wrong.

    confidence [N]: of the answer, below 0 where it is right; logits [N, K] that gave it; missing: inputs that were
    taken away for it, condition says so. Of equally sure ones the first id counts, so that the batch's order does not.
    """
    sure = np.asarray(confidence)
    if not len(sure) or sure.max() < 0:
        return []
    batch, classes = clean.batch, clean.model.classes
    i = min(np.flatnonzero(sure == sure.max()).tolist(), key=lambda k: batch.ids[k])
    panels = [
        panel(m, modality.kind, batch.inputs[m][i], "taken away" if m in missing else "")
        for m, modality in clean.model.modalities.items()
    ]
    said, true = classes[int(logits[i].argmax())], classes[int(batch.targets[i])]
    caption = f"Says “{said}” with {float(sure[i]):.1%}; it is “{true}”."
    return [Shown(batch.ids[i], f"Sure and wrong {condition}".strip(), panels, caption, 1 - float(sure[i]))]
