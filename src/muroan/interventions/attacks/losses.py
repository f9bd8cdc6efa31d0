"""Losses that an attack on a decision raises: of logits [N, K] and the labels that they should leave, [N]."""

from __future__ import annotations

import torch
from torch import Tensor


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """−log(p_y / (1 − p_y)) [N] in double: cross-entropy on a scale that does not saturate.

    Per sample its gradient is cross-entropy's times a positive number, so signed and normalised steps are the
    same; where p_y rounds to 1 and cross-entropy's gradient to zero, this one still points the way.
    """
    own, others = _apart(logits, labels)
    return others.logsumexp(dim=1) - own


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The best other logit minus the label's own, [N] in double: positive where the decision is another one."""
    own, others = _apart(logits, labels)
    return others.amax(dim=1) - own


def _apart(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(the labels' own logits [N], all with these at −∞ [N, K]), in double."""
    scores = logits.double()
    return scores.gather(1, labels[:, None]).squeeze(1), scores.scatter(1, labels[:, None], -torch.inf)


def ratio(logits: Tensor, labels: Tensor) -> Tensor:
    """The difference of logits ratio: the margin over the gap between the best and the third best logit, [N] in double.

    It does not change when logits are scaled or shifted, so a model cannot hide behind very large or small ones. Needs
    three classes; with two it is the margin. Source: Croce & Hein, ICML 2020 (DLR).
    """
    if logits.shape[1] < 3:
        return margin(logits, labels)
    top = logits.double().topk(3, dim=1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2]).clamp_min(1e-12)


def targeted_ratio(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """What raises the logit of class `targets` [N] over the label's, on a scale that cannot be hidden behind, [N].

    (z_t − z_y) over the gap between the best and the mean of the third and fourth best logit; with fewer than four
    classes the bare difference. Source: Croce & Hein, ICML 2020 (targeted DLR).
    """
    scores = logits.double()
    own, other = (scores.gather(1, k[:, None]).squeeze(1) for k in (labels, targets))
    if logits.shape[1] < 4:
        return other - own
    top = scores.topk(4, dim=1).values
    return (other - own) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2).clamp_min(1e-12)
