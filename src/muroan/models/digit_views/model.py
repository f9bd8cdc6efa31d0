"""The shipped network, and its weights on disk."""

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
from muroan.models.digit_views.network import network

FILE = "weights.safetensors"


def save(folder: Path, model: TorchModel, facts: Mapping[str, Any]) -> None:
    """Writes the weights as float16 with `facts` (anything JSON has) as metadata."""
    from safetensors.torch import save_file

    tensors = {name: t.to(torch.float16) for name, t in state(model.trainable()).items()}
    save_file(tensors, folder / FILE, metadata={name: json.dumps(fact) for name, fact in facts.items()})


def digit_views_model(folder: Path | None = None) -> TorchModel:
    """Which digit is it? The shipped network on all six views, or what the training script wrote into `folder`."""
    from safetensors.torch import load_file

    model = network(name="multiple-features")
    with as_file((folder or files("muroan.models.digit_views")) / FILE) as path:
        if not path.exists():
            raise CannotComplete(f"{path} is missing: train it with `python -m muroan.models.digit_views.train`")
        load_state(model.trainable(), {name: t.float() for name, t in load_file(path).items()})
    return model
