"""The shipped model: a small network that answers easy-VQA's questions about pictures (see CARD.md)."""

from muroan.models.easy_vqa.model import EasyVQAModel, easy_vqa_model

__all__ = ["EasyVQAModel", "easy_vqa_model"]
