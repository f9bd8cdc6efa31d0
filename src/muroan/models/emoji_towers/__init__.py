"""Two small pairs of encoders for emoji and their names: a real image-text model of two encoders (see CARD.md)."""

from muroan.models.emoji_towers.model import emoji_groups_model, emoji_model, gallery, group_texts, towers, trained
from muroan.models.emoji_towers.network import ARCHITECTURES, Architecture

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "emoji_groups_model",
    "emoji_model",
    "gallery",
    "group_texts",
    "towers",
    "trained",
]
