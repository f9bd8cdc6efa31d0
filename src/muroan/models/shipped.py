"""Weights that ship: written as float16 with the facts of their training, read back into a model of the same shape."""

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


def save(path: Path, model: TorchModel, facts: Mapping[str, Any]) -> None:
    """Writes the weights as float16 with `facts` (anything JSON has) as metadata."""
    from safetensors.torch import save_file

    tensors = {name: t.to(torch.float16) for name, t in state(model.trainable()).items()}
    save_file(tensors, path, metadata={name: json.dumps(fact) for name, fact in facts.items()})


def loaded(model: TorchModel, package: str, file: str, folder: Path | None = None) -> TorchModel:
    """The model with the weights that ship in its package, or with those of that name in `folder`."""
    from safetensors.torch import load_file

    with as_file((folder or files(package)) / file) as path:
        if not path.exists():
            raise CannotComplete(f"{path} is missing: train it with `python -m {package}.train`")
        load_state(model.trainable(), {name: t.float() for name, t in load_file(path).items()})
    return model
