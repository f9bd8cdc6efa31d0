"""MUROAN's decoupling attack (Vishwamitra et al., arXiv 2112.12792): a planted case, and a real model on easy-VQA.

(a) A model whose decision hangs on one block of the picture and one word: the search of the paper must return exactly
the three nested boxes that hold the block, and the word, in 20 probes. (b) On real pictures and questions the attack
must beat random removals of the same number, sizes and kinds, asked as often, with nothing changed by removing
nothing. Tests of "decoupling" other than the default, the one released with the paper among them, stand beside it.

The authors claim 100 % success with 1.16 % of the input space decoupled, on their models and data; that is quoted, not
measured here. Nor is their finding that adversarial training is insufficient.
"""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import torch
from torch import Tensor

from muroan.auditing.observe import observe_all
from muroan.batch import Batch
from muroan.clean import Clean
from muroan.data.easy_vqa import easy_vqa
from muroan.dataset import Splits
from muroan.estimate import proportion
from muroan.evidence import Evidence, clusters
from muroan.interventions.attacks.decoupling import TESTS, Decoupling
from muroan.interventions.attacks.matched import place
from muroan.interventions.attacks.removal import Removal
from muroan.meter import Metered
from muroan.modality import Image, Text
from muroan.model import TorchModel
from muroan.models.easy_vqa import easy_vqa_model
from muroan.randomness import sample_keys
from muroan.robustness.adversarial.decoupling.probe import DecouplingProbe

SAMPLES = 600
DRAWS = 20_000
THEIRS = 0.0116
"""The part of the input of the authors' claim."""


def planted() -> dict[str, Any]:
    """Class 1 iff the 28×28 block at row 112, column 56 of a 224×224 picture is bright and the word "cue" is there."""

    def block(x: Tensor) -> Tensor:
        return (x[:, 0, 112:140, 56:84].mean(dim=(1, 2), dtype=torch.float64) > 0.5).float()

    def whole(kept: Tensor) -> Tensor:
        return torch.stack([1 - kept, kept], dim=1)

    model = TorchModel(
        encoders={"image": block, "text": lambda texts: torch.tensor([float("cue" in t.split()) for t in texts])},
        fusion=lambda codes: whole(codes["image"] * codes["text"]),
        head=lambda fused: fused,
        classes=["0", "1"],
    )
    modalities = {"image": Image(size=(224, 224), channels=1, fill=(0.0,)), "text": Text()}
    batch = Batch(
        modalities, {"image": torch.ones(1, 1, 224, 224), "text": ["a cue in here"]}, torch.tensor([1]), ["x"]
    )
    removal = Removal(Clean.observe(Metered(model, modalities), batch))
    parts = Decoupling(test="argmax").parts(removal, torch.tensor([True]), ("image", "text"))
    image, text = parts["image"], parts["text"]
    boxes = image.box[image.decouples][image.points[image.decouples].argsort()]
    keys = sample_keys([str(i) for i in range(DRAWS)], "r01")
    size = torch.tensor([[[0, 0, 28, 28]]]).expand(DRAWS, 1, 4)
    y, x = place(size, torch.tensor([[224, 224]]).expand(DRAWS, 2), keys, pointwise=False)[:, 0, :2].unbind(dim=1)
    erased = (28 - (y - 112).abs()).clamp_min(0) * (28 - (x - 56).abs()).clamp_min(0)
    return {
        "boxes (row, column, side), by area": [b[:3] for b in boxes.tolist()],
        "words": text.box[text.decouples][:, 0].tolist(),
        "probes": len(image.sample) + len(text.sample),
        "a random 28×28 region changes it (counted: 0.01239)": str(proportion(erased >= 392)),
    }


def on_easy_vqa(**settings: Any) -> tuple[dict[str, str], dict[tuple[str, str | None], Any], Evidence]:
    """What the probe concludes, in words and as findings."""
    probe = DecouplingProbe(limit=SAMPLES, **settings)
    evidence, _ = observe_all([probe], easy_vqa_model(), Splits(easy_vqa().audited))
    found = {
        (f.metric, f.modality): f
        for f in probe.conclude(evidence[probe.name]).findings
        if f.group is None and f.estimate is not None
    }
    words = {}
    for (metric, modality), f in found.items():
        if metric in ("success", "success_at_1", "excess", "area", "share_median", "null"):
            words[metric + (f", {modality} alone" if modality else "")] = str(f.estimate)
        if metric == "excess":
            of = f", {modality} alone" if modality else ""
            words[f"random removal{of}"] = str(f.controls["random removal of equal size, asked as often"])
    return words, found, evidence[probe.name]


def run() -> dict[str, Any]:
    """Both conditions, and what the other tests of decoupling find."""
    torch.manual_seed(0)
    case = planted()
    exact = (
        case["boxes (row, column, side), by area"] == [[112, 56, 28], [112, 56, 56], [112, 0, 112]]
        and case["words"] == [1]
        and case["probes"] == 20
    )
    words, found, evidence = on_easy_vqa()
    attacked = evidence.of(condition="attack").filter(pl.col("attacked"))
    at_theirs = (attacked["success"] & (attacked["share"] <= THEIRS).fill_null(False)).cast(pl.Int8)
    others = {}
    for test in TESTS:
        if test != DecouplingProbe.test:
            some, _, _ = on_easy_vqa(test=test, threshold=0.9 if test == "cosine" else DecouplingProbe.threshold)
            others[test] = {k: v for k, v in some.items() if k.startswith(("success", "excess", "random"))}
    apart, null = found["excess", None].estimate, found["null", None].estimate
    holds = exact and apart.low > 0 and null.value == 0
    return {
        "row": "r01",
        "claim": "A search over regions and words finds small parts of the input whose removal changes the decision, "
        "more often than random removals of the same number, sizes and kinds that are asked as often.",
        "source": "Vishwamitra et al., Understanding and Measuring Robustness of Multimodal Learning, arXiv 2112.12792",
        "measured": {
            "(a) planted case": case,
            "(a) exact": exact,
            f"(b) easy-VQA, right answers of {SAMPLES} questions, at most 5 % of the points removed, test "
            f"{DecouplingProbe.test!r}": words,
            f"(b) success with at most {THEIRS:.2%} removed, on this model and these data": str(
                proportion(at_theirs, clusters(attacked))
            ),
            "(b) the same with other tests of decoupling": others,
            "the authors' claim, quoted": "100 % success with 1.16 % of the input space decoupled, in the worst case, "
            "on their models and data; how they count the share is not known",
            "not measured": "whether adversarial training is insufficient",
        },
        "verdict": "holds" if holds else "undecided" if exact and apart.high > 0 else "does not hold here",
        "command": "python reproductions/r01.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2, ensure_ascii=False))
