"""A network for handwritten digits in six views, and what else may be trained on some of them."""

from muroan.models.digit_views.network import digit_views_model, network, train

__all__ = ["digit_views_model", "network", "train"]
