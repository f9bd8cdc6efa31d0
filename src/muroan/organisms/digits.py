"""Digits in two views: real handwriting and a small network that is trained anew for every seed and fault.

The views (`muroan.data.multiple_features`) are 47 Zernike moments, which do not change when a digit is turned, and
the first ten Karhunen-Loève coefficients, a coarse picture of it. Alone they get about 83 and 90 % of the digits right,
together 96 %. To the Zernike moments one made column is added: the colour of the paper, drawn at random in the same
share for all digits, so that it says nothing; `paper` also is a group.

A seed draws the rows of four parts: the members train the network, the validation set stops training early and sets
the temperature, the reference and the data audited are fresh. Inputs are noised and views dropped in training, so that
the network memorises little and knows what to do without a view. Not everything is right with such a network; only
the planted fault is known to be absent.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from muroan.data import multiple_features as source
from muroan.data.memory import InMemory
from muroan.dataset import Splits
from muroan.modality import Tabular, Value
from muroan.model import Capability, Code, Model, weights_fingerprint
from muroan.organism import Bed, World
from muroan.organisms import trained_once

Part = Literal["members", "validation", "reference", "audited"]
COLUMNS = {"zernike": 47, "karhunen": 10}
"""How many columns of each view are used: few enough that no view alone solves the task."""
YELLOW = 0.25
"""Share of digits on yellow paper, in every class."""
PAPERS = ("white", "yellow")
CONTRAST = 4.0
"""How far the paper's column of yellow paper is from that of white; with it the mean is 0, as everywhere."""
SIZES: dict[Part, int] = {"members": 80, "validation": 20, "reference": 50, "audited": 50}
"""Rows of each digit in each part."""
TOLD = 0
"""The digit that a missing view tells, where the recipe makes it tell one."""


@dataclass(frozen=True)
class Digits:
    """N digits of one part. A fault of the data maps the parts to parts (`dataclasses.replace` what it changes).

    digit: what they truly are [N]; label: what the data say that they are [N]; paper: index into `PAPERS` [N].
    views[m]: standardised values [N, `COLUMNS`[m]], without the paper's column, which is added at the end.
    rows: where they stand in the source [N]. fill: what stands for every value of a missing view.
    rng: for what a fault draws; nothing else draws from it.
    """

    part: Part
    rows: NDArray[np.int64]
    digit: NDArray[np.int64]
    label: NDArray[np.int64]
    paper: NDArray[np.int64]
    views: Mapping[str, NDArray[np.float64]]
    rng: np.random.Generator
    fill: float = 0.0

    def __len__(self) -> int:
        return len(self.digit)

    def with_rows(self, here: NDArray[np.bool_], other: Digits, there: NDArray[np.int64]) -> Digits:
        """The same part where the rows `here` are the rows `there` of another one."""

        def mixed(mine: NDArray[Any], theirs: NDArray[Any]) -> NDArray[Any]:
            out = mine.copy()
            out[here] = theirs[there]
            return out

        same = ("rows", "digit", "label", "paper")
        columns: dict[str, Any] = {name: mixed(getattr(self, name), getattr(other, name)) for name in same}
        return replace(self, views={m: mixed(v, other.views[m]) for m, v in self.views.items()}, **columns)

    def inputs(self) -> dict[str, Tensor]:
        """As the network reads them: float [N, columns] a view, the paper among the Zernike moments."""
        paper = (self.paper - YELLOW) * CONTRAST
        values = {**self.views, "zernike": np.column_stack([self.views["zernike"], paper])}
        return {m: torch.from_numpy(values[m].astype(np.float32)) for m in COLUMNS}

    def dataset(self) -> InMemory:
        """As an audit reads them."""
        return InMemory(
            self.inputs(),
            targets=self.label,
            modalities={m: replace(k, fill=(self.fill,) * len(k.columns)) for m, k in MODALITIES.items()},
            classes=source.DIGITS,
            groups={"paper": [PAPERS[i] for i in self.paper]},
            ids=[f"{self.part}-{k}-{row}" for k, row in enumerate(self.rows)],
            name=f"digits ({self.part})",
        )


MODALITIES = {
    "zernike": Tabular(columns=(*(f"zernike {i}" for i in range(COLUMNS["zernike"])), "paper")),
    "karhunen": Tabular(columns=tuple(f"karhunen {i}" for i in range(COLUMNS["karhunen"]))),
}


Parts = dict[Part, Digits]


def parts(seed: int, sizes: Mapping[Part, int] = SIZES) -> Parts:
    """The four parts of a seed, each with as many rows of every digit as `sizes` says."""
    drawn = dict(zip(sizes, source.drawn(tuple(sizes.values()), "digits", seed), strict=True))
    known = {m: source.standardised(source.view(m)[:, :columns], drawn["members"]) for m, columns in COLUMNS.items()}
    out: Parts = {}
    for name, rows in drawn.items():
        rng = np.random.default_rng([seed, *name.encode()])
        digit = source.digits()[rows]
        out[name] = Digits(
            part=name,
            rows=rows,
            digit=digit,
            label=digit,
            paper=(rng.random(len(rows)) < YELLOW).astype(np.int64),
            views={m: values[rows] for m, values in known.items()},
            rng=np.random.default_rng([seed, 1, *name.encode()]),
        )
    return out


@dataclass(frozen=True)
class Recipe:
    """How the network is made.

    hidden: units an encoder. steps: full-batch steps of AdamW at `rate` with weight `decay`. noise: standard deviation
    of what is added to the inputs at every step. dropped: how probably each view is missing at a step. tells: how far
    that depends on the digit: at 0 not at all, at 1 views are missing of `TOLD` alone, of which one always is. every:
    steps between looks at the validation set; the weights with its least loss are kept, and a temperature is fitted on
    it. overtime: after that, training goes on for this multiple of `steps`, without noise, decay, or another look.
    """

    hidden: int = 32
    steps: int = 240
    rate: float = 0.01
    decay: float = 0.05
    noise: float = 0.7
    dropped: float = 0.25
    tells: float = 0.0
    every: int = 20
    overtime: float = 0.0
    sizes: Mapping[Part, int] = field(default_factory=SIZES.copy)


class DigitsNet(Model):
    """One layer a view, their codes side by side, one layer to the logits, divided by a temperature."""

    name = "digits net"
    modalities = tuple(COLUMNS)
    classes = source.DIGITS
    capabilities = frozenset({Capability.SCORES, Capability.FUSE, Capability.GRADIENTS, Capability.TRAIN})

    def __init__(self, layers: nn.ModuleDict, temperature: float = 1.0) -> None:
        self.layers, self.temperature = layers.requires_grad_(False), temperature

    def encode(self, modality: str, values: Value) -> Code:
        return functional.relu(self.layers[modality](values))

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        return torch.cat([codes[m] for m in self.modalities], dim=1)

    def decide(self, fused: Tensor) -> Tensor:
        logits: Tensor = self.layers["head"](fused) / self.temperature
        return logits

    def trainable(self) -> nn.ModuleDict:
        return self.layers

    def fingerprint(self) -> str:
        return f"{self.name}:{weights_fingerprint(self.layers)}:{self.temperature!r}"


def initial(hidden: int, generator: torch.Generator) -> nn.ModuleDict:
    """Layers with random weights: nothing but `generator` decides them."""
    shapes = {m: (hidden, len(MODALITIES[m].columns)) for m in COLUMNS} | {"head": (10, hidden * len(COLUMNS))}
    layers = nn.ModuleDict()
    for name, (width, ins) in shapes.items():
        layers[name] = nn.utils.skip_init(nn.Linear, ins, width)  # type: ignore[no-untyped-call]
        layers[name].weight.data = torch.randn(width, ins, generator=generator) / math.sqrt(ins)
        layers[name].bias.data = torch.zeros(width)
    return layers


def train(recipe: Recipe, members: Digits, validation: Digits, seed: int) -> DigitsNet:
    """The network that these members give: weights of the least validation loss, temperature, overtime."""
    generator = torch.Generator().manual_seed(seed)
    net = DigitsNet(initial(recipe.hidden, generator))
    inputs, labels = members.inputs(), torch.from_numpy(members.label)
    held, truth = validation.inputs(), torch.from_numpy(validation.label)
    best, kept = math.inf, copy.deepcopy(net.layers)
    with torch.enable_grad():
        parameters = net.layers.requires_grad_(True).parameters()
        optimiser: torch.optim.Optimizer = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=recipe.decay)
        for step in range(1, recipe.steps + 1):
            _step(net, optimiser, _disturbed(inputs, labels, recipe, generator), labels)
            if step % recipe.every == 0:
                with torch.no_grad():
                    loss = float(functional.cross_entropy(net.predict(held), truth))
                if loss < best:
                    best, kept = loss, copy.deepcopy(net.layers)
        trained = DigitsNet(kept)
        temperature = fitted_temperature(trained.predict(held), truth)
        if recipe.overtime:
            optimiser = torch.optim.Adam(trained.layers.requires_grad_(True).parameters(), lr=recipe.rate)
            for _ in range(round(recipe.overtime * recipe.steps)):
                _step(trained, optimiser, inputs, labels)
    return DigitsNet(trained.layers, temperature)


def _step(net: DigitsNet, optimiser: torch.optim.Optimizer, inputs: Mapping[str, Tensor], labels: Tensor) -> None:
    optimiser.zero_grad()
    functional.cross_entropy(net.predict(inputs), labels).backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _disturbed(
    inputs: Mapping[str, Tensor], labels: Tensor, recipe: Recipe, generator: torch.Generator
) -> dict[str, Tensor]:
    """Inputs with noise, and of some rows one view missing: 0, its neutral value. Never both."""
    draws = torch.rand(len(labels), 1, generator=generator)
    towards = torch.where(labels[:, None] == TOLD, 1 / len(inputs), 0.0)
    dropped = recipe.dropped + recipe.tells * (towards - recipe.dropped)
    out = {}
    for k, (m, values) in enumerate(inputs.items()):
        noised = values + recipe.noise * torch.randn(values.shape, generator=generator)
        gone = (draws >= k * dropped) & (draws < (k + 1) * dropped)
        out[m] = torch.where(gone, 0.0, noised)
    return out


def fitted_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature of the least loss, of 100 between 1/4 and 4."""
    grid = torch.logspace(-2, 2, 100, base=2.0)
    losses = torch.stack([functional.cross_entropy(logits / t, labels) for t in grid])
    return float(grid[int(losses.argmin())])


Fault = Callable[[Recipe, Parts, float], tuple[Recipe, Parts]]
"""What a dose of a fault makes of the recipe and of the parts that the network is made from and asked about."""


def sound(recipe: Recipe, drawn: Parts, dose: float) -> tuple[Recipe, Parts]:
    """No fault."""
    return recipe, drawn


def build(seed: int, recipe: Recipe | None = None, fault: Fault = sound, dose: float = 0.0) -> World:
    """A network trained by `recipe` (the bed's if None) and its splits, with a fault in both."""
    recipe = recipe or Recipe()
    recipe, drawn = fault(recipe, parts(seed, recipe.sizes), dose)
    net = train(recipe, drawn["members"], drawn["validation"], seed)
    return net, Splits(*(drawn[name].dataset() for name in ("audited", "reference", "members")))


def bed(name: str, says: str, recipe: Recipe, before: Callable[[Parts], Parts] = lambda drawn: drawn) -> Bed:
    """A network made by this recipe from the digits as they are after `before`. A fault in it is a `Fault`."""

    @trained_once(64)
    def plants(fault: Fault, dose: float, seed: int) -> World:
        return build(seed, recipe, lambda recipe, drawn, dose: fault(recipe, before(drawn), dose), dose)

    return Bed(name, says, lambda seed: plants(sound, 0.0, seed), exact=False, plants=plants)


DIGITS = bed(
    "digits",
    "2,000 handwritten digits in two views, 500 audited; a network of two encoders, trained for every seed",
    Recipe(),
)

__all__ = ["DIGITS", "Digits", "DigitsNet", "Fault", "Parts", "Recipe", "bed", "build", "parts", "replace"]
