"""Shared losses: known values."""

from __future__ import annotations

import math

import torch

from muroan.losses import info_nce


def test_info_nce_of_known_logits() -> None:
    apart = torch.eye(2)
    assert math.isclose(float(info_nce(apart, apart, 1.0)), math.log(1 + math.exp(-1)), rel_tol=1e-6)
    alike = torch.ones(4, 1)
    assert math.isclose(float(info_nce(alike, alike, 10.0)), math.log(4), rel_tol=1e-6)
