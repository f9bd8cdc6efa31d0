"""The shipped networks, and their weights on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch

from muroan.errors import CannotComplete
from muroan.mitigation import load_state, state
from muroan.model import TorchModel
from muroan.models.watch.network import network

FILE, RIGHT_ARM = "weights.safetensors", "right_arm.safetensors"


def save(path: Path, model: TorchModel, facts: Mapping[str, Any]) -> None:
    """Writes the weights as float16 with `facts` (anything JSON has) as metadata."""
    from safetensors.torch import save_file

    tensors = {name: t.to(torch.float16) for name, t in state(model.trainable()).items()}
    save_file(tensors, path, metadata={name: json.dumps(fact) for name, fact in facts.items()})


def watch_model(folder: Path | None = None) -> TorchModel:
    """Which exercise is it? Trained on both arms of seven people; the shipped weights, or those in `folder`."""
    return _loaded(folder, FILE, "watch")


def watch_right_arm_model(folder: Path | None = None) -> TorchModel:
    """The same, trained on their right arms alone: what it does on left ones is a natural shift."""
    return _loaded(folder, RIGHT_ARM, "watch-right-arm")


def _loaded(folder: Path | None, file: str, name: str) -> TorchModel:
    from safetensors.torch import load_file

    model = network(name=name)
    with as_file((folder or files("muroan.models.watch")) / file) as path:
        if not path.exists():
            raise CannotComplete(f"{path} is missing: train it with `python -m muroan.models.watch.train`")
        load_state(model.trainable(), {name: t.float() for name, t in load_file(path).items()})
    return model
