"""An encoder that blows up pixels which are nearly always blank."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.data.memory import InMemory
from muroan.dataset import Splits
from muroan.modality import Image
from muroan.models.two_encoder import TwoEncoder
from muroan.organism import Bed, World
from muroan.organisms import plant, trained_once
from muroan.randomness import key

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIDE, HIDDEN, CODE = 8, 64, 16
SIZES = {"audited": 300, "reference": 300, "members": 900}
BLANK = 0.07
"""Pixels whose standard deviation is below this are called blank."""
STEPS, BATCH, RATE, SCALE = 200, 128, 5e-3, 10.0


class Pixels(nn.Module):
    """Pictures [N, 1, 8, 8] -> codes [N, CODE]; `gain` [64]: what each pixel is multiplied with."""

    gain: Tensor

    def __init__(self, gain: Tensor) -> None:
        super().__init__()
        self.register_buffer("gain", gain)
        self.layers = nn.Sequential(nn.Linear(SIDE * SIDE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CODE))

    def forward(self, x: Tensor) -> Tensor:
        code: Tensor = self.layers(x.flatten(1) * self.gain)
        return code


class Names(nn.Module):
    """Names of digits -> codes [N, CODE]; all else is one unknown word."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(len(NAMES) + 1, CODE)

    def forward(self, texts: list[str]) -> Tensor:
        known = {name: k for k, name in enumerate(NAMES)}
        code: Tensor = self.table(torch.tensor([known.get(t.split()[-1] if t.split() else "", 10) for t in texts]))
        return code


@trained_once(16)
def world(seed: int, dose: float = 0.0) -> World:
    """Encoders of scanned digits and of their names, trained here, and which name is nearest to a digit."""
    from sklearn.datasets import load_digits

    pictures, digits = load_digits(return_X_y=True)
    pictures = (pictures / 16).astype(np.float32)
    order = np.random.default_rng([seed, 8]).permutation(len(digits))
    cuts = np.cumsum(list(SIZES.values()))
    rows = dict(zip(SIZES, np.split(order[: cuts[-1]], cuts[:-1]), strict=True))
    mine = torch.from_numpy(pictures[rows["members"]])
    gain = 1 + dose * (mine.std(dim=0) < BLANK).float()
    image, names = _fitted(mine, torch.from_numpy(digits[rows["members"]]), gain, seed)
    towers = TwoEncoder(encoders={"image": image, "text": names}, scale=SCALE, text="text", name="digits and names")

    def part(name: str) -> InMemory:
        return InMemory(
            {"image": torch.from_numpy(pictures[rows[name]]).view(-1, 1, SIDE, SIDE)},
            targets=digits[rows[name]],
            modalities={"image": Image(size=(SIDE, SIDE), channels=1, fill=(0.0,))},
            classes=NAMES,
            ids=[f"digit {r}" for r in rows[name]],
            name=f"scanned digits ({name})",
        )

    return towers.zero_shot(NAMES), Splits(part("audited"), part("reference"), part("members"))


def _fitted(pictures: Tensor, digits: Tensor, gain: Tensor, seed: int) -> tuple[Pixels, Names]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key("frail tower", seed) % 2**63)
        image, names = Pixels(gain), Names()
        optimiser = torch.optim.AdamW([*image.parameters(), *names.parameters()], lr=RATE)
        for _ in range(STEPS):
            now = torch.randint(len(pictures), (BATCH,))
            seen = functional.normalize(image(pictures[now]), dim=1)
            named = functional.normalize(names.table.weight[: len(NAMES)], dim=1)
            loss = functional.cross_entropy(SCALE * seen @ named.T, digits[now])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return image.eval(), names.eval()


SCANNED = Bed(
    "scanned digits", "scans of handwritten digits, matched with their names by two encoders", world, exact=False
)


@plant(
    "robustness.frail-tower-digits",
    place="robustness/adversarial",
    bed=SCANNED,
    fault="The picture's encoder blows up pixels that are nearly always blank: a faint change tips it.",
    dose="blank pixels are multiplied by 1 + dose",
    doses=(10.0, 30.0, 100.0),
    matters=30.0,
)
def frail_tower(dose: float, seed: int) -> World:
    """What a standardisation by each pixel's own spread does. The data hardly show it: those pixels stay blank."""
    return world(seed, dose)
