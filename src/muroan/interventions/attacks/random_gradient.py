"""Gradients of a function that only gives values: differences along random directions, every query counted.

Random gradient-free estimation (Nesterov & Spokoiny 2017), as AttackVLM uses it on a model that only answers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from muroan.randomness import Words, uniform


def random_gradient(
    f: Callable[[Tensor, Tensor], Tensor], x: Tensor, here: Tensor, keys: Words, *, directions: int, sigma: float
) -> Tensor:
    """g [N, ...] = mean over u of (f(x + sigma u) - f(x)) / sigma · u, with u of random signs.

    f: (values [R, ...], sample [R]) -> [R]; here [N]: f(x). `directions` queries a sample. With random signs the mean
    of g over many draws is the gradient, for small sigma.
    """
    n = len(x)
    draws = torch.from_numpy(uniform(keys, directions, *x.shape[1:]))
    signs = torch.where(draws < 0.5, -1.0, 1.0).to(x.dtype)
    sample = torch.arange(n).repeat_interleave(directions)
    ahead = f((x[:, None] + sigma * signs).flatten(0, 1), sample).view(n, directions)
    slope = (ahead - here[:, None]) / sigma
    wide = slope.to(x.dtype).view(n, directions, *[1] * (x.ndim - 1))
    return (wide * signs).mean(dim=1)
