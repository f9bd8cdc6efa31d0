"""Two small pairs of encoders for emoji and their names: a real image-text model of two encoders (see CARD.md)."""

from muroan.models.emoji_towers.model import emoji_model, towers, trained
from muroan.models.emoji_towers.network import ARCHITECTURES, Architecture

__all__ = ["ARCHITECTURES", "Architecture", "emoji_model", "towers", "trained"]
