"""Picture corruptions: how many a second, beside imagecorruptions (imaug's), on the same pictures, on one core.

All sixteen of both (stylize is the user's own function), five severities each, lengths in pixels not scaled on either
side: crops of 224 pixels of two photographs, and easy-VQA's pictures of 64 pixels. Muroan gets batches as its probe
makes them, of floats; imagecorruptions one picture at a time, of bytes, as it takes them. Muroan's draws are made once
for the five severities, as the probe does; `every severity drawn anew` is the same without. Repeats of both are
interleaved; times are medians over repeats, ratios of them.

    python benchmarks/corruptions.py [--repeats 3]
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor

from muroan.data.easy_vqa import easy_vqa
from muroan.interventions.perturbations import SEVERITIES, Draws, Perturbation, of_kind
from muroan.interventions.perturbations.tools import opened
from muroan.modality import Image
from muroan.randomness import sample_keys
from muroan.robustness.distribution_shift.corruptions.sweep import CHUNK_NUMBERS, CHUNK_VALUES

THEIRS = {"jpeg": "jpeg_compression", "elastic": "elastic_transform"}
# What it needs looks for a module `coverage`, and would find the script of that name beside this one.
sys.path = [p for p in sys.path if Path(p).resolve() != Path(__file__).resolve().parent]
imagecorruptions = importlib.import_module("imagecorruptions")
FROST = Path(str(imagecorruptions.__file__)).parent / "frost"
PEERS = 8
"""Pictures that imagecorruptions gets in a repeat; it takes them one by one, so their number is no matter."""


def batch(side: int) -> int:
    """Pictures at once, as the probe has them."""
    return max(CHUNK_VALUES, CHUNK_NUMBERS // (3 * side * side))


def photographs(n: int) -> np.ndarray:
    """Crops of 224 pixels, bytes [n, 224, 224, 3]."""
    both = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    return np.stack([both[k % 2][6 * k : 6 * k + 224, 12 * k : 12 * k + 224] for k in range(n)])


def drawn(n: int) -> np.ndarray:
    """Pictures of easy-VQA's test split, bytes [n, 64, 64, 3]."""
    loaded = easy_vqa().audited.load(range(0, 30 * n, 10)).batch
    assert loaded is not None
    values, _ = loaded.unique("image")
    assert isinstance(values, Tensor)
    return (values[:n] * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def seconds(do: Callable[[], object]) -> float:
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def measured(perturbation: Perturbation, pictures: np.ndarray, repeats: int) -> dict[str, float]:
    """Seconds for one picture at one severity, of each."""
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div(255).contiguous()
    modality, keys = Image(size=(x.shape[2], x.shape[3])), sample_keys([str(i) for i in range(len(x))], "bench")
    name = THEIRS.get(perturbation.name, perturbation.name)

    def ours() -> None:
        draws = Draws(keys)
        for severity in SEVERITIES:
            perturbation(x, severity, draws, modality)

    def anew() -> None:
        for severity in SEVERITIES:
            perturbation(x, severity, Draws(keys), modality)

    def theirs() -> None:
        for picture in pictures[:PEERS]:
            for severity in SEVERITIES:
                imagecorruptions.corrupt(picture, severity, name)

    work = {"muroan": (ours, len(x)), "anew": (anew, len(x)), "imagecorruptions": (theirs, min(PEERS, len(x)))}
    for do, _ in work.values():  # a warm-up of each: the peer compiles, Muroan makes its tables
        do()
    found: dict[str, list[float]] = {who: [] for who in work}
    for _ in range(repeats):
        for who, (do, n) in work.items():
            found[who].append(seconds(do) / n / len(SEVERITIES))
    return {who: statistics.median(times) for who, times in found.items()}


def main() -> dict[str, object]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rows = [p.having(opened("frost", str(FROST))) if p.wants == "frost" else p for p in of_kind("image")]
    sizes = {}
    for side, pictures in ((64, drawn(batch(64))), (224, photographs(batch(224)))):
        times = {p.name: measured(p, pictures, options.repeats) for p in rows if p.wants is None}
        total = {who: sum(t[who] for t in times.values()) for who in ("muroan", "anew", "imagecorruptions")}
        times["all"] = {who: t / len(times) for who, t in total.items()}
        sizes[f"{side} pixels"] = {
            "batch": len(pictures),
            "a second": {who: round(1 / times["all"][who], 1) for who in ("muroan", "anew", "imagecorruptions")},
            "microseconds": {name: {who: round(1e6 * t, 1) for who, t in of.items()} for name, of in times.items()},
            "times_faster": {name: round(of["imagecorruptions"] / of["muroan"], 2) for name, of in times.items()},
            "times_faster, every severity drawn anew": {
                name: round(of["imagecorruptions"] / of["anew"], 2) for name, of in times.items()
            },
        }
    found = {
        "benchmark": "corruptions",
        "severities": len(SEVERITIES),
        "repeats": options.repeats,
        "threads": torch.get_num_threads(),
        "sizes": sizes,
    }
    print(json.dumps(found, indent=1))
    return found


if __name__ == "__main__":
    main()
