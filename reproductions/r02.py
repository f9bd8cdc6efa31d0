"""MM_Robustness (Qiu et al., DMLR 2024) on easy-VQA: does accuracy fall with severity, and what costs most?

The shipped model on 600 test questions, 14 picture and 11 text perturbations at five severities, encoded anew. The
source's findings about large models (pictures cost more than texts, zoom blur and characters most) are held against
what is seen here; they are no part of the verdict, since a small model on plain pictures need not share them.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import torch

from muroan.auditing.observe import observe_all
from muroan.data.easy_vqa import easy_vqa
from muroan.dataset import Splits
from muroan.estimate import mean
from muroan.evidence import Evidence, clusters
from muroan.models.easy_vqa import easy_vqa_model
from muroan.randomness import sample_keys
from muroan.robustness.distribution_shift.corruption_findings import mmi
from muroan.robustness.distribution_shift.corruptions import Corruptions
from muroan.robustness.distribution_shift.perturbations import SEVERITIES, Draws, of_kind

SAMPLES = 600
GOLDEN = ((35.3, 27.4, 22.38), (60.7, 47.0, 22.57), (56.0, 43.0, 23.21), (81.9, 67.0, 18.19))
RISING = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    *("defocus_blur", "brightness", "contrast", "pixelate", "jpeg"),
)


def changes() -> dict[str, list[float]]:
    """Mean absolute change of 100 real pictures at severity 1..5."""
    data = easy_vqa().audited
    x, _ = data.load(range(0, 960, 9)).batch.unique("image")  # type: ignore[union-attr]
    modality = data.schema.modalities["image"]
    out = {}
    for p in of_kind("image"):
        draws = Draws(sample_keys([str(i) for i in range(len(x))], "r02", p.name))
        out[p.name] = [round(float((p(x, s, draws, modality, scale=64 / 224) - x).abs().mean()), 5) for s in SEVERITIES]
    return out


def by_severity(evidence: Evidence, modality: str) -> dict[str, Any]:
    """Accuracy at severity 0..5 averaged over perturbations, with intervals, and Spearman's rank correlation."""
    from scipy.stats import spearmanr

    rows = evidence.of().filter(pl.col("modality") == modality)
    figures = []
    for severity in (0, *SEVERITIES):
        per = (
            rows.filter(pl.col("severity") == severity)
            .group_by("sample")
            .agg(pl.col("correct").cast(pl.Float64).mean(), pl.col("cluster").first())
        )
        per = per.sort("sample")
        figures.append(mean(per["correct"], clusters(per), bounds=(0, 1)))
    return {
        "accuracy at severity 0..5": [str(f) for f in figures],
        "spearman": round(float(spearmanr(range(6), [f.value for f in figures]).statistic), 3),
    }


def run() -> dict[str, Any]:
    """Observe, conclude, and hold the result against the conditions."""
    torch.manual_seed(0)
    probe = Corruptions(limit=SAMPLES)
    evidence, quarantined = observe_all([probe], easy_vqa_model(), Splits(easy_vqa().audited))
    found = probe.conclude(evidence[probe.name]).findings
    named = {(f.metric, f.modality, f.condition): f for f in found}
    sides = {m: by_severity(evidence[probe.name], m) for m in ("image", "question")}
    moved = changes()
    rising = {name: moved[name] == sorted(moved[name]) for name in RISING}
    golden = {f"{a} -> {b}": round(100 * mmi(a, b), 2) == percent for a, b, percent in GOLDEN}
    null = named["mmi", "image", None].controls["null change"].value
    families = {p.name: p.family for p in of_kind("image") + of_kind("text")}
    drops = {(f.modality, f.condition): f.estimate.value for f in found if f.metric == "drop" and f.estimate}
    text = {
        family: round(
            float(np.mean([v for (m, c), v in drops.items() if m == "question" and families[c] == family])), 4
        )
        for family in ("character", "word")
    }
    holds = (
        all(rising.values())
        and all(golden.values())
        and null == 0
        and all(side["spearman"] <= -0.9 for side in sides.values())
        and not quarantined
    )
    return {
        "row": "R02",
        "claim": "Accuracy falls with the severity of natural perturbations of either modality; no change, no loss.",
        "source": "Qiu et al., DMLR 2024 (arXiv 2212.08044), MM_Robustness; ImageNet-C constants",
        "measured": {
            "impact (MMI)": {m: str(named["mmi", m, None].estimate) for m in ("image", "question")},
            **sides,
            "worst of each": {m: named["worst_corruption", m, None].title for m in ("image", "question")},
            "drop": {f"{c} of the {m}": str(named["drop", m, c].estimate) for m, c in drops},
            "drop of texts by family": text,
            "null change": null,
            "golden impacts": golden,
            "mean absolute change rises with severity": rising,
            "mean absolute change": moved,
            "source's findings, here": {
                "pictures cost more than texts": named["mmi", "image", None].estimate.value
                > named["mmi", "question", None].estimate.value,
                "zoom blur is the worst of pictures": max(
                    (c for m, c in drops if m == "image"), key=lambda c: drops["image", c]
                )
                == "zoom_blur",
                "characters cost more than words": text["character"] > text["word"],
            },
            "not measured": "texts with a checked meaning (needs a sentence encoder), frost, snow, stylize",
        },
        "verdict": "holds" if holds else "does not hold here",
        "command": "python reproductions/r02.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
