"""AdvCLIP's universal patch (Zhou et al., ACM MM 2023), without its GAN: does one patch hurt heads that it never saw?

The shipped emoji towers, both architectures. One patch (3 % of the picture, the source's place) is fitted to the codes
of training pictures and their captions, three times each with other draws. It is then stuck on pictures that neither
towers nor patch have seen, and two heads are asked that the patch was not fitted on: retrieval (does a picture find its
caption among a hundred?) and a linear probe of the emoji's group on frozen codes. Beside it, in the same place and of
the same size: the best of as many random patches as fitting makes passes, and a grey one.

The verdict is at the source's share. A patch of a tenth of the picture stands beside it as an exploration: it was added
after the first had been seen, to tell a weak attack from a small patch.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.data.emoji import emoji, emoji_groups
from muroan.dataset import Dataset
from muroan.estimate import paired_difference, proportion
from muroan.interventions.attacks.universal_patch import SHARE, Place, Recipe, best_noise, fit, grey
from muroan.meter import Metered
from muroan.models.emoji_towers.model import gallery, towers
from muroan.models.emoji_towers.network import ARCHITECTURES
from muroan.randomness import choose

SEEDS = (0, 1, 2)
FITTED = 256
"""Training pictures that a patch is fitted on."""
SHARES = (SHARE, 0.1)


def whole(data: Dataset | None, n: int | None = None) -> Batch:
    """All samples, or `n` drawn ones."""
    assert data is not None
    batch = data.load(range(len(data)) if n is None else choose(data.ids, n, "r16")).batch
    assert batch is not None
    return batch


def heads(architecture: str) -> dict[str, Any]:
    """Head -> (unseen samples, pictures [N, 3, 32, 32] -> right answers bool [N])."""
    from sklearn.linear_model import LogisticRegression

    pair = towers(architecture)  # type: ignore[arg-type]
    pairs, groups = whole(emoji().audited), emoji_groups()
    model = pair.retrieval(gallery(), "first")

    def found(x: Tensor) -> Tensor:
        with torch.no_grad():
            return model.predict({**pairs.inputs, "image": x}).argmax(dim=1) == pairs.targets

    members, unseen = whole(groups.members), whole(groups.audited)
    probe = LogisticRegression(max_iter=2000).fit(pair.encode_all("image", members.inputs["image"]), members.targets)

    def told(x: Tensor) -> Tensor:
        said = probe.predict(pair.encode_all("image", x).numpy())
        return torch.from_numpy(np.asarray(said)) == unseen.targets

    return {"retrieval": (pairs, found), "linear probe": (unseen, told)}


def judged(architecture: str, share: float) -> dict[str, Any]:
    """Three patches of this share on two heads: figures and conditions."""
    asked, pair, recipe = heads(architecture), towers(architecture), Recipe(share=share)  # type: ignore[arg-type]
    found: dict[str, Any] = {}
    for seed in SEEDS:
        some = whole(emoji().members, FITTED)
        metered = Metered(pair.retrieval(gallery(), "first"), some.modalities)
        patches = {
            "fitted": fit(metered, some, "image", recipe, seed=seed),
            "noise": best_noise(metered, some, "image", recipe, seed=seed),
            "grey": grey(some, "image", share),
        }
        for name, (batch, right) in asked.items():
            x, by = batch.inputs["image"], batch.clusters
            clean = right(x)
            hit = {p: right(patch.put(batch)) for p, patch in patches.items()}
            lost = {p: paired_difference(clean, h, by) for p, h in hit.items()}
            over = {p: paired_difference(hit[p], hit["fitted"], by) for p in ("noise", "grey")}
            found[f"{name}, seed {seed}"] = {
                "accuracy": str(proportion(clean, by)),
                **{f"lost under the {p} patch": str(e) for p, e in lost.items()},
                **{f"fitted beyond {p}": str(e) for p, e in over.items()},
                "accuracy falls": lost["fitted"].low > 0,
                "apart from noise and grey": all(e.low > 0 for e in over.values()),
            }
    return found


def verdict(found: dict[str, Any]) -> str:
    """Whether accuracy falls, and falls further than under both controls, on every head and seed."""
    good = [r["accuracy falls"] and r["apart from noise and grey"] for r in found.values()]
    return "holds" if all(good) else f"does not hold here: on {sum(good)} of {len(good)} heads and seeds"


def run() -> dict[str, Any]:
    """Both architectures, two sizes, three patches each, two heads."""
    golden = Place.of((224, 224))
    assert (golden.side, golden.top, golden.left) == (38, 172, 172), "the source's place: 172..209 of 224"
    measured = {f"{a}, {share:.0%}": judged(a, share) for share in SHARES for a in ARCHITECTURES}
    sides = ", ".join(f"{share:.0%}: {Place.of((32, 32), share).side}²" for share in SHARES)
    return {
        "row": "R16",
        "claim": "One patch fitted on training pictures lowers accuracy on unseen pictures for two heads that it never "
        "saw, apart from a random and a grey patch of the same place and size.",
        "source": "AdvCLIP, Zhou et al., ACM MM 2023 (arXiv 2308.07026); losses without the GAN",
        "measured": {
            **measured,
            "patch": f"pixels of 32²: {sides}; fitted on {FITTED} training pictures in {Recipe().steps} steps",
            "place on a picture of 224": "rows and columns 172..209",
            "what this shows": "what the attack does to small towers; it is no evidence about large ones",
        },
        "verdict": {a: verdict(measured[f"{a}, {SHARE:.0%}"]) for a in ARCHITECTURES},
        "command": "python reproductions/r16.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
