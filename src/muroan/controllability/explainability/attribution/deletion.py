"""Is an explanation true to the model? Remove what it ranks first and see whether the decision goes first.

Deletion curves (Samek et al. 2017; Petsiuk et al. 2018) and ERASER's comprehensiveness and sufficiency (DeYoung et
al. 2020): the probability of the model's own decision while the parts of one modality are removed, the others left
as they are. Compared on the same sample with random orders: an explanation that knows nothing gains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from muroan.clean import Clean
from muroan.controllability.explainability.parts import Contexts, Cut, probability, read_without
from muroan.controllability.explainability.shapley import centred_logit
from muroan.randomness import Words, uniform


@dataclass(frozen=True)
class Curves:
    """Paths on which the parts of each sample are removed step by step.

    share [N, S+1]: share of the sample's parts that is gone, 0 to 1; gone bool [N, Q, S+1, P]: which ones;
    probability, score [N, Q, S+1]: of the explained class, the latter its centred logit.
    """

    share: Tensor
    gone: Tensor
    probability: Tensor
    score: Tensor

    def area(self) -> Tensor:
        """[N, Q]: mean probability along the path, by the trapezoid rule over `share`; 0 to 1."""
        width = self.share.diff(dim=1)[:, None]
        return (width * (self.probability[..., 1:] + self.probability[..., :-1]) / 2).sum(dim=2)


def ranked(values: Tensor, real: Tensor) -> Tensor:
    """[N, P]: parts from the one that speaks most for the decision to the one against it; padding last."""
    return torch.where(real, values, -torch.inf).argsort(dim=1, descending=True, stable=True)


def reversed_order(order: Tensor, count: Tensor) -> Tensor:
    """[N, P]: the same parts from last to first; padding stays last."""
    at = torch.arange(order.shape[1]).expand_as(order)
    back = count[:, None] - 1 - at
    return order.gather(1, torch.where(back >= 0, back, at))


def random_orders(keys: Words, orders: int, real: Tensor) -> Tensor:
    """[N, orders, P]: random orders of each sample's parts, a function of its key alone; padding last."""
    draws = torch.from_numpy(uniform(keys, orders, real.shape[1]))
    return torch.where(real[:, None], draws, torch.inf).argsort(dim=2)


def curves(clean: Clean, cut: Cut, orders: Tensor, steps: int, seen: Contexts) -> Curves:
    """The model along the paths that remove parts in the given orders [N, Q, P], in `steps` steps.

    A sample with fewer parts than steps stays where it is in between.
    """
    n, q, _ = orders.shape
    removed = torch.round(torch.arange(steps + 1).double() * cut.count[:, None] / steps).long()
    rank = orders.argsort(dim=2)
    gone = (rank[:, :, None, :] < removed[:, None, :, None]) & cut.real()[:, None, None, :]
    sample = torch.arange(n).repeat_interleave(q * (steps + 1))
    found, score = read_without(clean, cut, sample, gone.flatten(0, 2), seen, (probability, centred_logit))
    shape = (n, q, steps + 1)
    share = removed / cut.count[:, None].clamp_min(1)
    return Curves(share, gone, found.view(shape), score.view(shape))
