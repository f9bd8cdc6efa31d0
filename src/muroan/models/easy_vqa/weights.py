"""The weights on disk: trained networks in one safetensors file, each with the pictures that it was trained on.

Tensors are named `<k>.weights.<parameter>` (float16) and `<k>.pictures.<split>` (picture numbers) for the k-th
network; the file's metadata hold what is common to all, as JSON. The record of pictures is what was used, not a
rule to derive it from, so membership stays true whatever happens to the rule.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SPLITS = ("train", "test")


@dataclass(frozen=True)
class Trained:
    """A network's parameters and buffers, and the pictures it was trained on ("train-12", "test-3")."""

    state: Mapping[str, Tensor]
    pictures: frozenset[str]


def save(path: Path, networks: Sequence[Trained], facts: Mapping[str, Any]) -> None:
    """Writes networks as float16 with `facts` (anything JSON has) as metadata."""
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for k, network in enumerate(networks):
        for name, tensor in network.state.items():
            tensors[f"{k}.weights.{name}"] = tensor.detach().to(torch.float16).contiguous()
        numbers = [picture.split("-") for picture in network.pictures]
        for split in SPLITS:
            used = sorted(int(n) for s, n in numbers if s == split)
            tensors[f"{k}.pictures.{split}"] = torch.tensor(used, dtype=torch.int16)
    save_file(tensors, path, metadata={name: json.dumps(fact) for name, fact in facts.items()})


def load(path: Path) -> tuple[list[Trained], dict[str, Any]]:
    """(networks as float32, facts) of a file that `save` wrote."""
    from safetensors import safe_open

    states: dict[int, dict[str, Tensor]] = {}
    pictures: dict[int, set[str]] = {}
    with safe_open(path, framework="pt") as file:
        facts = {name: json.loads(fact) for name, fact in (file.metadata() or {}).items()}
        for key in file.keys():  # noqa: SIM118  (a safetensors file is no mapping)
            number, kind, name = key.split(".", 2)
            tensor = file.get_tensor(key)
            if kind == "weights":
                states.setdefault(int(number), {})[name] = tensor.float()
            else:
                pictures.setdefault(int(number), set()).update(f"{name}-{n}" for n in tensor.tolist())
    return [Trained(states[k], frozenset(pictures[k])) for k in sorted(states)], facts
