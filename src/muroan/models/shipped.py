"""What networks that ship share: how small ones are trained, and weights on disk with the facts of their training."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.batch import Batch
from muroan.dataset import Dataset
from muroan.errors import CannotComplete
from muroan.mitigation import load_state, state
from muroan.model import TorchModel
from muroan.training import Schedule, Trained, Trainer


def fit(model: TorchModel, members: Dataset, schedule: Schedule, *, noise: float, name: str, seed: int) -> Trained:
    """Trains by cross-entropy, with normal noise of this standard deviation on every number of every input.

    name: of the training; draws depend on it and on the seed.
    """

    def loss(batch: Batch) -> Tensor:
        noised = {m: x + noise * torch.randn_like(x) for m, x in batch.inputs.items()}
        return functional.cross_entropy(model.predict(noised), batch.targets)

    return Trainer(name=name).fit(model.trainable(), loss, members, schedule, seed=seed)


def save(path: Path, network: nn.Module, facts: Mapping[str, Any]) -> None:
    """Writes the weights as float16 with `facts` (anything JSON has) as metadata."""
    from safetensors.torch import save_file

    tensors = {name: t.to(torch.float16) for name, t in state(network).items()}
    save_file(tensors, path, metadata={name: json.dumps(fact) for name, fact in facts.items()})


def load(network: nn.Module, package: str, file: str, folder: Path | None = None) -> None:
    """Puts the weights that ship in a package, or those of that name in `folder`, into the network."""
    from safetensors.torch import load_file

    with found(package, file, folder) as path:
        load_state(network, {name: t.float() for name, t in load_file(path).items()})


@contextmanager
def found(package: str, file: str, folder: Path | None = None) -> Iterator[Path]:
    """A file that ships in a package, or that of this name in `folder`; `CannotComplete` says what writes it."""
    with as_file((folder or files(package)) / file) as path:
        if not path.exists():
            raise CannotComplete(f"{path} is missing: train it with `python -m {package}.train`")
        yield path


def options(script: str | None, home: str, arguments: Sequence[str] | None, **numbers: int) -> argparse.Namespace:
    """What a script that trains was asked: `out`, a folder that is there (its own, `home`, by default), and numbers.

    script: its documentation, of which the first line is its help; numbers: their names and defaults.
    """
    parser = argparse.ArgumentParser(description=(script or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(home).parent)
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    return asked
