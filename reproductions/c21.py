"""LiRA (Carlini et al., S&P 2022): do shadow models tell members from others better than the target's loss does?

Scanned digits: eight targets and sixteen shadows, each trained until it makes no mistake on its half of the pictures;
every picture is in half of the first four shadows, of the first eight and of all, and no target is a shadow. The
likelihood ratio against the target's own logit-scaled confidence, on the same pictures; the interval is over the
eight targets. And easy-VQA with the shipped model and the eight shadows that come with it, pictures as clusters.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from _digits_memory import balanced_halves, memorise, scans
from numpy.typing import NDArray

from muroan.auditing.observe import observe_all
from muroan.controllability.privacy.membership.likelihood_ratio import lira, logit_confidence
from muroan.controllability.privacy.membership.probe import Membership
from muroan.data.easy_vqa import easy_vqa
from muroan.dataset import Splits
from muroan.estimate import Estimate, auc, auc_difference, mean
from muroan.evidence import MEMBERS, clusters
from muroan.models.easy_vqa import easy_vqa_model

TARGETS = 8
SHADOWS = (4, 8, 16)
LIMIT = 3000

Floats = NDArray[np.float64]


def at_one_percent(members: Floats, others: Floats) -> float:
    """Share of members above the score that 1 % of the others exceed."""
    return float((members > np.quantile(others, 0.99)).mean())


def digits() -> dict[str, Any]:
    """Per number of shadows: both attacks' figures over the eight targets, and what the shadows add."""
    n, rng = len(scans()[0]), np.random.default_rng(21)
    shadows = np.concatenate([balanced_halves(4, n, rng) for _ in range(SHADOWS[-1] // 4)])
    made = memorise(np.concatenate([balanced_halves(TARGETS, n, rng), shadows]), seed=21)
    own = made.phi(list(range(TARGETS)))
    theirs = made.phi(list(range(TARGETS, TARGETS + SHADOWS[-1])))
    member = made.inside[:TARGETS].T
    right = (made.logits.argmax(dim=2) == made.targets).numpy()
    scores = {"loss": own} | {
        f"likelihood ratio, {s} shadows": np.stack(
            [lira(own[:, t], theirs[:, :s], shadows[:s].T).score for t in range(TARGETS)], axis=1
        )
        for s in SHADOWS
    }
    areas, low = (
        {
            name: np.array([figure(score[member[:, t], t], score[~member[:, t], t]) for t in range(TARGETS)])
            for name, score in scores.items()
        }
        for figure in (lambda a, b: auc(a, b).value, at_one_percent)
    )
    best = f"likelihood ratio, {SHADOWS[-1]} shadows"
    gain = {"AUC": mean(areas[best] - areas["loss"]), "TPR at 1 % FPR": mean(low[best] - low["loss"])}
    return {
        "accuracy on members and on others": [
            round(float(right[made.inside].mean()), 4),
            round(float(right[~made.inside].mean()), 4),
        ],
        "AUC": {name: str(mean(v)) for name, v in areas.items()},
        "TPR at 1 % FPR": {name: str(mean(v)) for name, v in low.items()},
        "what 16 shadows add to the loss": {k: str(e) for k, e in gain.items()},
        "apart": {k: e.low > 0 for k, e in gain.items()},
    }


def questions() -> dict[str, Any]:
    """The shipped model, as the membership probe observes it."""
    data, probe = easy_vqa(), Membership(limit=LIMIT, per_modality=False)
    evidence, _ = observe_all([probe], easy_vqa_model(), Splits(data.audited, members=data.members))
    rows = [evidence[probe.name].of(split) for split in (MEMBERS, "audited")]
    cut = len(rows[0])
    phi = np.concatenate([r["phi"].to_numpy() for r in rows])
    shadow_phi = np.array([p for r in rows for p in r["shadow_phi"].to_list()])
    inside = np.array([p for r in rows for p in r["shadow_in"].to_list()], dtype=bool)
    ratio = lira(phi, shadow_phi, inside)
    units = clusters(rows[0]), clusters(rows[1])
    added: Estimate = auc_difference(ratio.score[:cut], ratio.score[cut:], phi[:cut], phi[cut:], *units)
    return {
        "AUC": {
            "loss": str(auc(phi[:cut], phi[cut:], *units)),
            "likelihood ratio, 8 shadows": str(auc(ratio.score[:cut], ratio.score[cut:], *units)),
        },
        "TPR at 1 % FPR": {
            "loss": round(at_one_percent(phi[:cut], phi[cut:]), 4),
            "likelihood ratio, 8 shadows": round(at_one_percent(ratio.score[:cut], ratio.score[cut:]), 4),
        },
        "what 8 shadows add to the loss": str(added),
        "every sample has shadows with and without it": bool(ratio.two_sided.all()),
        "apart": added.low > 0,
        "verdict": "holds" if added.low > 0 else "does not hold here" if added.high < 0 else "undecided",
    }


def run() -> dict[str, Any]:
    """Golden value, digits, easy-VQA."""
    torch.manual_seed(0)
    golden = logit_confidence(torch.tensor([[0.9, 0.1]]).log(), torch.tensor([0])).item()
    small, shipped = digits(), questions()
    agrees = abs(golden - 2.1972246) < 1e-6
    return {
        "row": "C21",
        "claim": "With 16 shadows the likelihood ratio is apart above the loss attack in true positives at 1 % false "
        "positives.",
        "source": "Carlini et al., S&P 2022 (LiRA), sections IV and V",
        "measured": {
            "golden value: log odds of .9": round(golden, 7),
            "digits": small,
            "easy-VQA": shipped,
            "not measured": "the specification's own bed of emoji",
        },
        "verdict": {
            "digits": "holds" if small["apart"]["TPR at 1 % FPR"] and agrees else "does not hold here",
            "easy-VQA (8 shadows, AUC)": shipped["verdict"],
        },
        "command": "python reproductions/c21.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
