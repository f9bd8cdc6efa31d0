"""R31: a certified radius for late fusion by a linear head (after Yang et al., ICLR 2024; its abstract alone is known).

Handwritten digits in three views, each encoded by one layer with ReLU, and one linear layer on the codes side by side,
trained here on three seeds. The radius is stated for codes, where it is exact, and never for inputs: the encoders are
not affine. It is held against gradient attacks on the codes that do not know it, with a search for the smallest radius
at which they succeed, and its ranking of digits against the smallest radius at which an attack on the inputs succeeds.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional

from muroan import Budget, Tabular, TorchModel
from muroan.batch import Batch
from muroan.data.multiple_features import VIEWS as COLUMNS
from muroan.data.multiple_features import multiple_features
from muroan.estimate import Estimate, bootstrap, proportion
from muroan.interventions.attacks.pgd import PGD
from muroan.meter import Metered
from muroan.mitigations.certified import linear_head

SEEDS = (0, 1, 2)
VIEWS = ("fourier", "profiles", "pixels")
CODE = 32
HALVINGS = 10


def late_fusion(batch: Batch, seed: int) -> TorchModel:
    """Trained on a batch: 150 full steps of Adam."""
    torch.manual_seed(seed)
    encoders = {v: nn.Sequential(nn.Linear(COLUMNS[v][1], CODE), nn.ReLU()) for v in VIEWS}
    model = TorchModel(
        encoders=encoders,
        fusion=lambda c: torch.cat([c[v] for v in VIEWS], dim=1),
        head=nn.Linear(CODE * len(VIEWS), 10),
        classes=tuple("0123456789"),
        name="late fusion",
    )
    optimiser = torch.optim.AdamW(model.trainable().parameters(), lr=5e-3, weight_decay=1e-2)
    for _ in range(150):
        optimiser.zero_grad()
        functional.cross_entropy(model.predict(batch.inputs), batch.targets).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    model.trainable().requires_grad_(False)
    return model


def on_codes(model: TorchModel, batch: Batch) -> tuple[TorchModel, Batch]:
    """The same decisions as a model whose inputs are the codes."""
    with torch.no_grad():
        codes = {v: model.encode(v, batch.inputs[v]) for v in VIEWS}
    inner = TorchModel(
        encoders={v: (lambda x: x) for v in VIEWS},
        fusion=lambda c: model.fuse(c),
        head=lambda z: model.decide(z),
        classes=model.classes,
    )
    kinds = {v: Tabular(columns=tuple(f"{v} code {k}" for k in range(CODE))) for v in VIEWS}
    return inner, Batch(modalities=kinds, inputs=codes, targets=batch.targets, ids=batch.ids)


def smallest(model: TorchModel, batch: Batch, moving: tuple[str, ...], start: float, seed: int) -> Tensor:
    """The smallest L2 change per sample [N] that an attack found, over all `moving` codes or inputs together.

    Radii are doubled and halved over the batch; of every success the true distance counts, not the radius allowed.
    """
    metered = Metered(model, batch.modalities)
    best = torch.full((len(batch),), torch.inf, dtype=torch.double)
    for k in range(HALVINGS):
        radius = start * 2.0 ** (-k / 2)
        done = PGD(steps=30, restarts=1).run(
            metered, batch, {m: Budget(radius=radius, norm="2") for m in moving}, seed=seed
        )
        moved = torch.cat([(done.batch.inputs[m] - batch.inputs[m]).double() for m in moving], dim=1).norm(dim=1)
        best = torch.where(done.success, torch.minimum(best, moved), best)
    return best


def spearman(a: Tensor, b: Tensor) -> Estimate:
    """Rank correlation [−1, 1]; the interval resamples digits, ranks stay those of all."""
    x, y = (torch.from_numpy(rankdata(t.numpy())).double() for t in (a, b))
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    totals = torch.stack([torch.ones(len(x)).double(), x, y, x * x, y * y, x * y], dim=1).numpy()

    def correlation(t: Any) -> Any:
        n, sx, sy, sxx, syy, sxy = t.T
        return (n * sxy - sx * sy) / ((n * sxx - sx**2) * (n * syy - sy**2)) ** 0.5

    return bootstrap(totals, correlation, n=len(x))


def run() -> dict[str, Any]:
    """Violations, tightness and ranking on every seed."""
    data = multiple_features(VIEWS)
    assert data.members is not None
    members = data.members.load(range(len(data.members))).batch
    audited = data.audited.load(range(0, len(data.audited), 3)).batch
    assert members is not None
    assert audited is not None
    beds, violations, tried, ranks = {}, 0, 0, []
    for seed in SEEDS:
        model = late_fusion(members, seed)
        right = (model.predict(audited.inputs).argmax(dim=1) == audited.targets).nonzero().flatten()
        batch = audited.take(right)
        inner, codes = on_codes(model, batch)
        head = linear_head(model, codes.inputs)
        told: dict[str, Any] = {"accuracy": proportion(model.predict(audited.inputs).argmax(dim=1) == audited.targets)}
        for moving in (*((v,) for v in VIEWS), VIEWS):
            radius = head.radius(codes.inputs, moving)
            found = smallest(inner, codes, moving, 4 * float(radius[radius.isfinite()].median()), seed)
            wrong = int((found < radius * (1 - 1e-5) - 1e-6).sum())
            hit = found.isfinite()
            violations, tried = violations + wrong, tried + int(hit.sum())
            told[" + ".join(moving)] = {
                "median radius (of codes)": float(radius.median()),
                "median of smallest found over radius": float((found[hit] / radius[hit]).median()),
                "attacks that succeeded": int(hit.sum()),
                "violations": wrong,
            }
        radius = head.radius(codes.inputs)
        inputs = smallest(model, batch, VIEWS, 8.0, seed)
        reached = inputs.isfinite()
        rank = spearman(radius[reached], inputs[reached])
        ranks.append(rank)
        told["ranking: certified radius of codes against the smallest change of inputs (Spearman)"] = rank
        told["input attacks that succeeded"] = proportion(reached)
        told["which view has the smallest radius"] = {
            v: proportion(torch.stack([head.radius(codes.inputs, [w]) for w in VIEWS]).argmin(dim=0) == k)
            for k, v in enumerate(VIEWS)
        }
        beds[f"seed {seed}"] = told
    conditions = {
        "no attack undercuts the radius": violations == 0 and tried > 0,
        "the radius ranks digits by how easily their inputs are attacked, apart from 0": all(r.low > 0 for r in ranks),
    }
    return {
        "row": "R31",
        "claim": "The certified radius of a linear late-fusion head is never larger than the smallest successful "
        "attack found, and it ranks samples by how easily they are attacked.",
        "source": "Yang et al., ICLR 2024 (arXiv 2402.06244), abstract; the radius of a linear head is elementary",
        "measured": {
            **beds,
            "violations": f"{violations} of {tried} successful attacks on codes",
            "stated for": "codes, in L2, of samples that are right; no radius is stated for inputs, since the encoders "
            "are not affine",
            "not built": "orthogonal heads and certified training, whose details are not known here",
            "conditions": conditions,
        },
        "verdict": "holds" if all(conditions.values()) else "does not hold here",
        "command": "python reproductions/r31.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2, default=str))
