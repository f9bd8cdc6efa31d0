"""A network that tells exercises from what a smartwatch felt; another that has only known the right arm."""

from muroan.models.watch.network import network, train, watch_model, watch_right_arm_model

__all__ = ["network", "train", "watch_model", "watch_right_arm_model"]
