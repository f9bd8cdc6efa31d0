"""What the project sets up for itself: the CPU build, and none of the packages that break beside it."""

from __future__ import annotations

from importlib.util import find_spec

import torch


def test_torch_is_the_cpu_build_and_nothing_drags_in_more():
    assert torch.version.cuda is None
    for name in ("torchvision", "torchaudio", "triton"):
        assert find_spec(name) is None, f"{name} is installed: something among the dependencies asks for it"
