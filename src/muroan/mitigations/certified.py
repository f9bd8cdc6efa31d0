"""How far must a code move before a linear head decides otherwise? A radius that no attack can undercut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from muroan.errors import NotApplicable
from muroan.model import Model

POINTS = 16
"""Random codes on which a head must be linear to be called so."""


@dataclass(frozen=True)
class LinearHead:
    """logits = Σ_m weights[m] z_m + bias: weights[m] [K, D_m], bias [K], double.

    What fusion by concatenation or by sums followed by a linear layer comes to, and late fusion of linear heads.
    """

    weights: Mapping[str, Tensor]
    bias: Tensor

    def logits(self, codes: Mapping[str, Tensor]) -> Tensor:
        """[N, K] of codes [N, D_m]."""
        return self.bias + torch.stack([codes[m].double() @ w.T for m, w in self.weights.items()]).sum(dim=0)

    def radius(self, codes: Mapping[str, Tensor], moving: Sequence[str] | None = None) -> Tensor:
        """The L2 distance [N] that the codes of `moving` (all, if None) must go together to change the decision.

        min over classes k of (s_y − s_k) / ‖w_y − w_k‖, w of the moving codes side by side, y the decision. Exact for a
        linear head: nothing nearer changes it. Infinite where the moving codes have no say. It is a distance between
        codes; what an input must change for it, see `LinearHead.through`.
        """
        least: Tensor = self._borders(codes, list(moving or self.weights))[0].amin(dim=1)
        return least

    def nearest(self, codes: Mapping[str, Tensor], moving: Sequence[str] | None = None) -> dict[str, Tensor]:
        """The change of each moving code, [N, D_m], that leads to the nearest point where two classes tie."""
        names = list(moving or self.weights)
        away, gaps, w, best = self._borders(codes, names)
        other = away.argmin(dim=1)
        across = w[other] - w[best]
        change = across * (gaps.gather(1, other[:, None]) / across.square().sum(dim=1, keepdim=True).clamp_min(1e-300))
        widths = [self.weights[m].shape[1] for m in names]
        return dict(zip(names, torch.split(change, widths, dim=1), strict=True))

    def _borders(self, codes: Mapping[str, Tensor], names: list[str]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """How far away each class is and by how much it scores less [N, K]; weights side by side; the decisions [N]."""
        scores = self.logits(codes)
        best = scores.argmax(dim=1)
        gaps = scores.gather(1, best[:, None]) - scores
        w = torch.cat([self.weights[m] for m in names], dim=1)
        apart = torch.cdist(w, w)[best]
        away = torch.where(apart > 0, gaps / apart.clamp_min(1e-300), torch.inf)
        return away.scatter(1, best[:, None], torch.inf), gaps, w, best

    def through(self, encoders: Mapping[str, Tensor]) -> LinearHead:
        """The head on inputs, where codes are affine in them: encoders[m] [D_m, F_m] is that map's matrix.

        Its radii then are of inputs; biases of the encoders shift scores alone, so give codes' own to `bias`.
        """
        return LinearHead({m: w @ encoders[m].double() for m, w in self.weights.items()}, self.bias)


def linear_head(model: Model, codes: Mapping[str, Tensor]) -> LinearHead:
    """The model's fusion and decision as one linear map; raises `NotApplicable` where it is none.

    codes[m] [N, D_m]: some of the model's own; it is read off at unit codes and tried on these and on random ones.
    """
    for m, code in codes.items():
        if not isinstance(code, Tensor) or code.ndim != 2:
            raise NotApplicable(f"codes of {m} are no vectors")
    with torch.no_grad():
        nothing = {m: torch.zeros(1, c.shape[1]) for m, c in codes.items()}
        bias = model.decide(model.fuse(nothing)).double()[0]
        weights = {}
        for m, c in codes.items():
            d = c.shape[1]
            units = {k: torch.eye(d) if k == m else torch.zeros(d, v.shape[1]) for k, v in codes.items()}
            weights[m] = (model.decide(model.fuse(units)).double() - bias).T
        head = LinearHead(weights, bias)
        generator = torch.Generator().manual_seed(0)
        wide = {m: 3 * torch.randn(POINTS, c.shape[1], generator=generator) for m, c in codes.items()}
        for tried in (codes, wide):
            true = model.decide(model.fuse(tried)).double()
            size = float(true.abs().max().clamp_min(1.0))
            if not torch.allclose(head.logits(tried), true, atol=1e-4 * size):
                raise NotApplicable(f"the head of {model.name} is not linear in the codes")
    return head
