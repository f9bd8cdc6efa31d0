"""Towers on disk: one safetensors file an architecture, float16, with how they were trained as metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from muroan.models import shipped
from muroan.models.emoji_towers.network import Architecture, Towers


def file_of(architecture: Architecture) -> str:
    """The name of an architecture's file."""
    return f"{architecture}.safetensors"


def save(folder: Path, net: Towers, facts: Mapping[str, Any]) -> None:
    """Writes towers with `facts` (anything JSON has) as metadata."""
    shipped.save(folder / file_of(net.architecture), net, facts)


def load(architecture: Architecture, folder: Path | None = None) -> Towers:
    """The shipped towers, or those that the training script wrote into `folder`."""
    net = Towers(architecture)
    shipped.load(net, "muroan.models.emoji_towers", file_of(architecture), folder)
    return net.eval()
