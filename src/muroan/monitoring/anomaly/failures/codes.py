"""What is kept of a sample to look for failures by: its code, its words, and what each input says alone."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from muroan.clean import Clean
from muroan.errors import BadSample
from muroan.intervention import outcome
from muroan.interventions.removals import Removal, others
from muroan.meter import Metered
from muroan.model import Capability
from muroan.randomness import normal, sample_keys

WIDTH = 64
"""Numbers kept of a code; a longer one is projected."""
WORDS_A_SAMPLE, LONGEST_WORD = 32, 30
"""Distinct words kept of a text, and their length."""
FUSED, SCORES = "fused code", "log-probabilities"


def words(text: str) -> list[str]:
    """The distinct words of a text, lower case, in order of appearance; at most `WORDS_A_SAMPLE`."""
    found = dict.fromkeys(w[:LONGEST_WORD] for w in re.findall(r"\w+(?:['’-]\w+)*", text.lower()))
    return list(found)[:WORDS_A_SAMPLE]


def alone(clean: Clean) -> dict[str, Tensor]:
    """The class [N] that each input speaks for if all others are neutral; nothing where that cannot be told apart.

    A failure where two inputs meet is described by what they say, and the codes of one input are what says it.
    """
    names = tuple(clean.model.modalities)
    if len(names) < 2 or Capability.FUSE not in clean.model.model.capabilities:
        return {}
    return {m: outcome(clean, Removal(others(names, [m]))).predicted for m in names}


def embedded(clean: Clean) -> tuple[Tensor, str]:
    """Each sample's code [N, ≤ 64], float, and what it is."""
    model = clean.model
    if Capability.FUSE in model.model.capabilities:
        codes, index = clean.codes, clean.index
        if not model.apart:
            # Whole-model calls have no codes: they are made for this question alone, and counted.
            whole, model = model, Metered(model.model, model.modalities, remember=False)
            model.meter = whole.meter
            codes, index = model.codes(clean.batch)
        out, what = model.fused(codes, index, clean.batch.present or None).flatten(1).double(), FUSED
    else:
        out, what = clean.logits.double().log_softmax(dim=1), SCORES
    if not bool(torch.isfinite(out).all()):
        raise BadSample("the fused code has NaN or infinite values")
    if out.shape[1] > WIDTH:
        out = out @ _projection(out.shape[1])
    return out.float(), what


@lru_cache(maxsize=4)
def _projection(width: int) -> Tensor:
    """Random directions [width, 64], the same for every sample of every model of that width."""
    keys = sample_keys([str(i) for i in range(width)], "projection of codes")
    return torch.from_numpy(normal(keys, WIDTH) / np.sqrt(WIDTH))
