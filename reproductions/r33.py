"""Consensus over rephrasings (Li, Gan and Liu 2020; VQA-Rephrasings, CVPR 2019) on easy-VQA's own wordings.

Easy-VQA asks the same of a picture in up to four ways ("is a red shape present?", "does the image contain a red
shape?"). Groups are questions on one picture that ask the same (`what_is_asked`); the model is the shipped one. Nothing
is trained and nothing generated. Beside it: the same model with other words for "color", "image", ... in the questions,
which are wordings it never saw; and the identities that CS(k) has to have.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import comb

from muroan.auditing.observe import observe_all
from muroan.batch import Batch
from muroan.data.easy_vqa import LEXICON, easy_vqa
from muroan.data.memory import InMemory
from muroan.dataset import Dataset, Splits
from muroan.estimate import paired_difference
from muroan.evidence import AUDITED
from muroan.finding import Finding
from muroan.models.easy_vqa import easy_vqa_model
from muroan.randomness import choose, key
from muroan.robustness.distribution_shift.consistency.probe import Consistency
from muroan.robustness.distribution_shift.consistency.scores import consensus, flips
from muroan.robustness.distribution_shift.consistency.wordings import Wordings, all_right

PROBE = Consistency(same="python:muroan.data.easy_vqa:what_is_asked")
PICTURES = 300


def identities() -> dict[str, bool]:
    """What CS(k) is by definition, over all groups of up to twelve wordings."""
    pairs = [(m, n) for n in range(1, 13) for m in range(n + 1)]
    m, n = np.array(pairs).T
    table = np.stack([consensus(m, n, k) for k in range(1, 13)])
    counted = np.stack([np.where(n >= k, comb(m, k) / np.maximum(comb(n, k), 1), np.nan) for k in range(1, 13)])
    return {
        "CS(k) = C(m, k) / C(n, k)": bool(np.allclose(table, counted, equal_nan=True)),
        "CS(k) never rises with k": not bool((np.diff(table, axis=0) > 0).any()),
        "CS(1) is the share right": bool(np.allclose(table[0], m / n)),
    }


def groups_of(data: Dataset) -> tuple[Wordings, list[Finding]]:
    """The groups of questions that ask the same, and what the probe finds."""
    evidence, quarantined = observe_all([PROBE], easy_vqa_model(), Splits(data))
    assert not quarantined
    found = evidence[PROBE.name]
    groups = Wordings.of(found.of(AUDITED, "question"), found.about)
    return groups, PROBE.conclude(found).findings


def by_size(groups: Wordings) -> dict[str, Any]:
    """CS(k) of the groups of at least k, and of a fixed set of groups."""
    out: dict[str, Any] = {}
    for k in range(1, largest(groups) + 1):
        for name, rows in (("", groups.of_size(k)), (", groups of at least 3 only", groups.of_size(3))):
            if k <= 3 or not name:
                out[f"CS({k}){name}"] = str(rows.mean(all_right(rows, k), (0, 1)))
        out[f"groups of fewer than {k}"] = len(groups.groups) - len(groups.of_size(k))
    return out


def falls(groups: Wordings) -> dict[str, str]:
    """CS(k) - CS(k + 1) on the groups that have both."""
    out = {}
    for k in range(1, largest(groups)):
        rows = groups.of_size(k + 1)
        out[f"CS({k}) - CS({k + 1})"] = str(rows.mean(all_right(rows, k) - all_right(rows, k + 1), (0, 1)))
    return out


def largest(groups: Wordings) -> int:
    return int(groups.groups["size"].max())


def figures(found: list[Finding]) -> dict[str, str]:
    """The probe's findings as text."""
    named = {f.key.partition("/")[2]: f for f in found}
    out = {name: str(f.estimate) for name, f in named.items() if f.estimate}
    return out | {f"{f.metric}, {c}": str(e) for f in found for c, e in f.controls.items()}


def some(pictures: int) -> Batch:
    """All questions on some pictures."""
    data = easy_vqa().audited
    of = data.clusters()
    names = sorted(set(of))
    kept = {names[k] for k in choose(names, pictures, "r33")}
    batch = data.load([i for i, c in enumerate(of) if c in kept]).batch
    assert batch is not None
    return batch


def reworded(batch: Batch) -> tuple[InMemory, NDArray[np.bool_], Batch]:
    """Every question as it is and with a synonym for each word that has one; which rows are edited; the edits alone."""
    synonyms = dict(LEXICON)
    texts = []
    for i, text in zip(batch.ids, batch.inputs["question"], strict=True):
        words = [(w.rstrip("?"), w[len(w.rstrip("?")) :]) for w in text.split()]
        texts.append(
            " ".join(
                (synonyms[w][key("r33", i, w) % len(synonyms[w])] if w in synonyms else w) + end for w, end in words
            )
        )
    edited = replace(batch, inputs={**batch.inputs, "question": texts}, ids=[f"{i} reworded" for i in batch.ids])
    both = Batch.concat([batch, edited])
    new = np.array([a != b for a, b in zip(texts, batch.inputs["question"], strict=True)])
    assert both.clusters is not None
    data = InMemory(
        {m: both.inputs[m] for m in both.modalities},
        targets=both.targets.tolist(),
        modalities=both.modalities,
        classes=easy_vqa_model().classes,
        clusters=list(both.clusters),
        groups={"form": ["as asked"] * len(batch) + ["reworded"] * len(batch)},
        ids=list(both.ids),
        name="easy-vqa, reworded",
    )
    return data, new, edited


def run() -> dict[str, Any]:
    """Identities, the data's own wordings, wordings that the model never saw."""
    torch.manual_seed(0)
    model = easy_vqa_model()
    known = identities()
    groups, found = groups_of(easy_vqa().audited)
    batch = some(PICTURES)
    data, new, edited = reworded(batch)
    strange, strange_found = groups_of(data)
    with torch.no_grad():
        before, after = (model.predict(b.inputs).argmax(dim=1).numpy() for b in (batch, edited))
    turned = flips(before[new], after[new], batch.targets.numpy()[new])
    assert batch.clusters is not None
    by = [c for c, n in zip(batch.clusters, new, strict=True) if n]
    lost = paired_difference(
        turned.right_before.astype(float), (turned.right_before & ~turned.lost | turned.gained).astype(float), by
    )
    holds = all(known.values())
    values = [float(all_right(groups.of_size(3), k).mean()) for k in (1, 2, 3)]
    return {
        "row": "R33",
        "claim": "The consensus score over rephrasings is C(m, k)/C(n, k), starts at accuracy and never rises with k.",
        "source": "Li, Gan and Liu 2020 (arXiv 2012.08673); Shah et al., CVPR 2019",
        "measured": {
            "identities": known,
            "easy-VQA's own wordings": {
                "groups": len(groups.groups),
                "wordings": len(groups.each),
                "samples without another wording": groups.alone,
                **by_size(groups),
                "falls": falls(groups),
                "findings": figures(found),
            },
            "with wordings that the model never saw": {
                "questions changed by a synonym": int(new.sum()),
                "of": len(new),
                "accuracy lost": str(lost),
                "flips (shares of those right, wrong before)": {n: round(v, 4) for n, v in turned.shares.items()},
                "findings": figures(strange_found),
                **by_size(strange),
            },
            "not measured": "VQA-Rephrasings, IV-VQA and CV-VQA: real people's wordings and edited photographs",
        },
        "verdict": {"consensus": "holds" if holds and values == sorted(values, reverse=True) else "does not hold here"},
        "command": "python reproductions/r33.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
