"""The blind baseline: how well can members be told from non-members without ever asking the model?

If a classifier of the bare inputs does as well as the attack, the attack found that the two sets differ, not that the
model remembers (most published membership results on CLIP are of that kind; Carlini-style controls ask for this).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch
from muroan.estimate import auc

WIDTH = 192
"""Features per modality: 8×8 colours of a picture, hashed words and word pairs of a text."""


def features(batch: Batch) -> Tensor:
    """What is seen of each sample without the model: float [N, F]; inputs, which are present, and the label."""
    columns = []
    for m in batch.modalities:
        value = batch.inputs[m]
        columns.append(_of_tensor(value) if isinstance(value, Tensor) else _of_text(value))
        if m in batch.present:
            columns.append(batch.present[m].float()[:, None])
    label = torch.zeros(len(batch), 32)
    label.scatter_(1, (batch.targets % 32)[:, None], 1.0)
    columns.append(label)
    return torch.cat(columns, dim=1)


def _of_tensor(value: Tensor) -> Tensor:
    if value.ndim == 4:
        return functional.adaptive_avg_pool2d(value.float(), 8).flatten(1)
    flat = value.float().flatten(1)
    if flat.shape[1] <= WIDTH:
        return flat
    return functional.adaptive_avg_pool1d(flat[:, None], WIDTH).squeeze(1)


def _of_text(texts: Sequence[str]) -> Tensor:
    split = [re.findall(r"\w+", text.lower()) for text in texts]
    grams = [[*words, *pairwise(words)] for words in split]
    place = {g: zlib.crc32(repr(g).encode()) % WIDTH for row in grams for g in row}
    at = [row * WIDTH + place[g] for row, found in enumerate(grams) for g in found]
    counts = np.bincount(np.array(at, dtype=np.int64), minlength=len(texts) * WIDTH)
    return torch.from_numpy(counts.reshape(len(texts), WIDTH)).float()


def blind_scores(
    seen: NDArray[np.float64], member: NDArray[np.bool_], clusters: Sequence[str], *, folds: int = 5, seed: int = 0
) -> tuple[str, NDArray[np.float64]]:
    """(name of the classifier, scores [N]) from what is seen of each sample [N, F], each scored by a model that was not
    fitted on it nor on anything of its cluster. Of a linear classifier, one that sees squares too (sets of another
    spread), and one of trees the strongest is taken: the baseline errs on the side of calling the sets different.
    """
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    x, y = seen[:, seen.std(axis=0) > 0], member.astype(np.float64)
    if x.shape[1] == 0:
        return "constant", np.zeros(len(x))
    splits = list(GroupKFold(min(folds, len(set(clusters)))).split(x, y, np.asarray(clusters, dtype=str)))
    linear = LogisticRegression(C=0.01, max_iter=200)
    candidates = {
        "logistic regression": make_pipeline(StandardScaler(), linear),
        "logistic regression with squares": make_pipeline(
            StandardScaler(), FunctionTransformer(_with_squares), StandardScaler(), linear
        ),
        # Twice as many trees take twice as long, for less than a point of AUC.
        "extra trees": ExtraTreesClassifier(30, min_samples_leaf=5, random_state=seed),
    }
    best = ("", np.zeros(0), -1.0)
    for name, model in candidates.items():
        scores = cross_val_predict(model, x, y, cv=splits, method="predict_proba")[:, 1]
        area = auc(scores[member], scores[~member]).value
        if area > best[2]:
            best = (name, scores, area)
    return best[0], best[1]


def _with_squares(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.hstack([x, x**2])
