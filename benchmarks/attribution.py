"""Attributions side by side with Captum, and through fusion against whole-model calls. Writes JSON.

    python benchmarks/attribution.py [--samples 32] [--coalitions 128] [--repeats 3] [--out attribution.json]

Same model (the shipped one), same samples, same cells of the picture, same baseline (the data's neutral colour), same
score, same number of evaluated coalitions, one thread each, in one process, in turns. Captum gets the question
encoded once, so that it pays for pictures alone, and is run both as it comes (one perturbation a call) and in one
batch a sample. What counts as true where that is affordable, on 3 × 3 cells: the exact Shapley values, and LIME on
8,192 coalitions.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from muroan import Metered
from muroan.clean import Clean
from muroan.controllability.explainability.parts import Parts, attribute, contexts, cut
from muroan.controllability.explainability.shapley import Shapley, centred_logit
from muroan.data.easy_vqa import MEAN_COLOUR, easy_vqa
from muroan.estimate import mean
from muroan.models.easy_vqa import easy_vqa_model
from muroan.randomness import choose


def clean_pass(n: int, *, apart: bool = True) -> Clean:
    """A clean pass over `n` questions about `n` different pictures of the test split."""
    data = easy_vqa().audited
    first = {cluster: i for i, cluster in reversed(list(enumerate(data.clusters())))}
    picks = [first[k] for k in sorted(first)]
    picks = [picks[i] for i in choose([data.ids[p] for p in picks], n, "benchmark attribution")]
    batch = data.load(picks).batch
    assert batch is not None
    return Clean.observe(Metered(easy_vqa_model(), data.schema.modalities, apart=apart), batch)


def cells_of(clean: Clean, explainer: Parts) -> Tensor:
    """Our attributions of the picture's cells, [N, P]."""
    pieces = cut(clean, "image", explainer.cells)
    return attribute(clean, pieces, explainer.design, contexts(clean, "image", "present")).values


def captum(clean: Clean, method: str, cells: int, coalitions: int, at_once: int) -> Tensor:
    """Captum's attributions of the same cells towards the same score, [N, P]."""
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr import KernelShap, Lime
    from captum.attr._core.lime import get_exp_kernel_similarity_function

    model = clean.model.model
    pictures = clean.batch.inputs["image"]
    side = torch.arange(64) * cells // 64
    mask = (side[:, None] * cells + side[None, :])[None, None]
    base = torch.tensor(MEAN_COLOUR).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    questions = clean.own_codes()["question"]
    out = []
    for i in range(len(clean)):
        question = questions.data[i : i + 1]

        def score(x: Tensor, question: Tensor = question, i: int = i) -> Tensor:
            codes = {"image": model.encode("image", x), "question": question.expand(len(x), -1)}
            return centred_logit(model.decide(model.fuse(codes)), clean.predicted[i].expand(len(x)))

        if method == "kernel shap":
            theirs = KernelShap(score)
        else:
            near = get_exp_kernel_similarity_function("cosine", kernel_width=0.25)
            theirs = Lime(score, interpretable_model=SkLearnRidge(alpha=1.0), similarity_func=near)
        found = theirs.attribute(
            pictures[i : i + 1],
            baselines=base,
            feature_mask=mask,
            n_samples=coalitions,
            perturbations_per_eval=at_once,
            return_input_shape=False,
        )
        out.append(found.detach().double().flatten())
    return torch.stack(out)


def timed(runs: dict[str, Callable[[], Tensor]], repeats: int) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """CPU seconds of each run, taking turns, and what each gave last. One warm-up round is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    results: dict[str, Tensor] = {}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start = time.process_time()
            results[name] = run()
            if turn:
                seconds[name].append(round(time.process_time() - start, 4))
    return seconds, results


def rank_agreement(a: Tensor, b: Tensor) -> str:
    """Mean Spearman correlation over samples, with its interval."""
    return str(mean([spearmanr(x, y).statistic for x, y in zip(a.numpy(), b.numpy(), strict=True)]))


def relative_error(found: Tensor, true: Tensor) -> str:
    """Mean over samples of |found − true| / |true|, with its interval."""
    return str(mean(((found - true).norm(dim=1) / true.norm(dim=1)).numpy()))


def parts_against_captum(samples: int, coalitions: int, repeats: int) -> list[dict[str, object]]:
    """Time on 4 × 4 cells; truth on 3 × 3 cells."""
    clean, out = clean_pass(samples), []
    for method in ("kernel shap", "lime"):
        # For KernelSHAP these are all coalitions, so the exact Shapley values; for LIME its limit, near enough.
        true = cells_of(clean, Parts(method=method, cells=3, coalitions=2**9 if method == "kernel shap" else 2**13))
        ours = Parts(method=method, cells=4, coalitions=coalitions)
        seconds, found = timed(
            {
                "muroan": lambda ours=ours: cells_of(clean, ours),
                "captum": lambda method=method: captum(clean, method, 4, coalitions, 1),
                "captum, one batch a sample": lambda method=method: captum(clean, method, 4, coalitions, coalitions),
            },
            repeats,
        )
        fastest = {name: min(taken) for name, taken in seconds.items()}
        few_ours = cells_of(clean, Parts(method=method, cells=3, coalitions=coalitions))
        few_theirs = captum(clean, method, 3, coalitions, coalitions)
        out.append(
            {
                "method": method,
                "samples": samples,
                "cells": 16,
                "coalitions": coalitions,
                "CPU seconds": seconds,
                "times faster than captum": round(fastest["captum"] / fastest["muroan"], 1),
                "times faster than captum in batches": round(
                    fastest["captum, one batch a sample"] / fastest["muroan"], 1
                ),
                "rank correlation with captum, 16 cells": rank_agreement(found["muroan"], found["captum"]),
                "9 cells, against what all coalitions give": {
                    "muroan rank correlation": rank_agreement(few_ours, true),
                    "captum rank correlation": rank_agreement(few_theirs, true),
                    "muroan relative error": relative_error(few_ours, true),
                    "captum relative error": relative_error(few_theirs, true),
                },
            }
        )
    return out


def fusion_against_whole_calls(samples: int, repeats: int) -> dict[str, object]:
    """Exact Shapley values of the modalities with codes that are known, and with the whole model called."""
    passes = {"through fusion": clean_pass(samples), "whole-model calls": clean_pass(samples, apart=False)}
    runs = {
        name: (lambda clean=clean: torch.stack(list(Shapley().explain(clean).modalities.values())))
        for name, clean in passes.items()
    }
    seconds, found = timed(runs, repeats)
    fastest = {name: min(taken) for name, taken in seconds.items()}
    return {
        "samples": samples,
        "CPU seconds": seconds,
        "times faster": round(fastest["whole-model calls"] / fastest["through fusion"], 1),
        "largest difference": float((found["through fusion"] - found["whole-model calls"]).abs().max()),
        "largest value": float(found["through fusion"].abs().max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--coalitions", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="captum.*")
    np.random.seed(0)  # noqa: NPY002 (Captum draws from the global generators)
    torch.manual_seed(0)
    report = {
        "parts against captum": parts_against_captum(asked.samples, asked.coalitions, asked.repeats),
        "shapley through fusion": fusion_against_whole_calls(1000, asked.repeats),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    text = json.dumps(report, indent=2)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
