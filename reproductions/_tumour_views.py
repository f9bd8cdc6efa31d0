"""A bed that several reproductions share: thirty measurements of a tumour as three views, and a small network for them.

scikit-learn's breast_cancer (569 real tumours, benign or malignant) with its columns in their three groups, the mean,
the error and the worst of ten features, each a modality of its own, standardised on the training half. `split` gives
the two halves of a seed, `network` an untrained model, `trained` one that was trained on the first half. Nothing is
tuned. What is measured on it shows that a method works on a small model; it is no evidence about large ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from muroan import Tabular, TorchModel
from muroan.batch import Batch
from muroan.data.memory import InMemory

VIEWS = ("mean", "error", "worst")
CLASSES = ("malignant", "benign")
WIDTH = 16
EPOCHS = 200


@dataclass(frozen=True)
class Tumours:
    """A model trained on `train`, and the other half, which it never saw; accuracy on that half."""

    model: TorchModel
    train: Batch
    test: Batch
    accuracy: float


def split(seed: int) -> tuple[Batch, Batch]:
    """The training half and the other half, by seed, standardised on the first."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(x))
    halves = order[: len(x) // 2], order[len(x) // 2 :]
    x = ((x - x[halves[0]].mean(axis=0)) / x[halves[0]].std(axis=0)).astype(np.float32)
    names = tuple(f"column {k}" for k in range(10))
    batches = []
    for rows in halves:
        data = InMemory(
            {m: x[rows, 10 * k : 10 * k + 10] for k, m in enumerate(VIEWS)},
            targets=y[rows],
            modalities={m: Tabular(columns=names) for m in VIEWS},
            classes=CLASSES,
            ids=[f"tumour {i}" for i in rows],
        )
        batch = data.load(range(len(data))).batch
        assert batch is not None
        batches.append(batch)
    return batches[0], batches[1]


def joined(codes: dict[str, Tensor]) -> Tensor:
    """The views' codes side by side, [N, 3 · WIDTH]."""
    return torch.cat([codes[m] for m in VIEWS], dim=1)


def network(seed: int) -> TorchModel:
    """One layer a view, concatenated, and a head of two layers; weights drawn by seed, not trained."""
    torch.manual_seed(seed)
    encoders = {m: nn.Sequential(nn.Linear(10, WIDTH), nn.ReLU()) for m in VIEWS}
    head = nn.Sequential(nn.Linear(len(VIEWS) * WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, len(CLASSES)))
    return TorchModel(encoders=encoders, fusion=joined, head=head, classes=CLASSES, name="three views")


def trained(seed: int, epochs: int = EPOCHS) -> Tumours:
    """The network of this seed after cross-entropy on the whole training half, `epochs` times."""
    train, test = split(seed)
    model = network(seed)
    optimiser = torch.optim.Adam(model.trainable().parameters(), lr=1e-2)
    for _ in range(epochs):
        loss = nn.functional.cross_entropy(model.predict(train.inputs), train.targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    right = model.predict(test.inputs).argmax(dim=1) == test.targets
    return Tumours(model, train, test, float(right.float().mean()))
