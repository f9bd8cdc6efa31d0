"""Towers on disk: one safetensors file an architecture, float16, with how they were trained as metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch

from muroan.errors import CannotComplete
from muroan.models.emoji_towers.network import Architecture, Towers


def file_of(architecture: Architecture) -> str:
    """The name of an architecture's file."""
    return f"{architecture}.safetensors"


def save(folder: Path, net: Towers, facts: Mapping[str, Any]) -> None:
    """Writes towers as float16 with `facts` (anything JSON has) as metadata."""
    from safetensors.torch import save_file

    tensors = {name: t.detach().to(torch.float16).contiguous() for name, t in net.state_dict().items()}
    metadata = {name: json.dumps(fact) for name, fact in facts.items()}
    save_file(tensors, folder / file_of(net.architecture), metadata=metadata)


def load(architecture: Architecture, folder: Path | None = None) -> Towers:
    """The shipped towers, or those that the training script wrote into `folder`."""
    from safetensors.torch import load_file

    net = Towers(architecture)
    with as_file((folder or files("muroan.models.emoji_towers")) / file_of(architecture)) as path:
        if not path.exists():
            raise CannotComplete(f"{path} is missing: train it with `python -m muroan.models.emoji_towers.train`")
        net.load_state_dict({name: t.float() for name, t in load_file(path).items()})
    return net.eval()
