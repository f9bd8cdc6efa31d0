"""Consistency vote: ask the model about an input without each of its parts, and average the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.clean import Clean
from muroan.dataset import Splits
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.removal import POINTWISE, Removal, lengths
from muroan.interventions.attacks.salient import salient_points
from muroan.losses import decided
from muroan.meter import Metered
from muroan.mitigation import Mitigated, Mitigation
from muroan.modality import KINDS, Modality, Value, take
from muroan.model import Capability, Model, rows
from muroan.models.defended import Defended
from muroan.registry import register
from muroan.training import Trainer

Points = Literal["fixed", "salient"]


class Voting(Defended):
    """Probabilities averaged over the input without each of its parts, and the untouched input.

    Differentiable wherever the model is: an attacker climbs through all the votes. Where the model can be taken apart,
    only what was removed is encoded again.
    """

    def __init__(self, inner: Model, modalities: Mapping[str, Modality], *, pieces: int, points: Points) -> None:
        super().__init__(inner, f"consistency vote ({points}, {pieces})")
        self.kinds = {m: modalities[m] for m in inner.modalities}
        self.pieces, self.points = pieces, points

    def predict(self, inputs: Mapping[str, Value], present: Mapping[str, Tensor] | None = None) -> Tensor:
        said, real = self.votes(inputs, present)
        counted = said.double().masked_fill(~real[..., None], -torch.inf).logsumexp(dim=1)
        mean: Tensor = counted - real.sum(dim=1, keepdim=True).double().log()
        return mean.to(said.dtype)

    @torch.no_grad()
    def agreement(self, inputs: Mapping[str, Value], present: Mapping[str, Tensor] | None = None) -> Tensor:
        """Share of the votes that are for the outcome [N]. 1: no single part matters; low: an unstable vote."""
        said, real = self.votes(inputs, present)
        outcome = self.predict(inputs, present).argmax(dim=1)
        agree = (said.argmax(dim=2) == outcome[:, None]) & real
        return agree.sum(dim=1).double() / real.sum(dim=1)

    def votes(self, inputs: Mapping[str, Value], present: Mapping[str, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Log-probabilities [N, V, K] of every vote, the untouched input's first, and which votes there are [N, V]."""
        n = len(inputs[self.modalities[0]])
        apart = Capability.FUSE in self.inner.capabilities
        whole = {m: self.inner.encode(m, inputs[m]) if apart else inputs[m] for m in self.modalities}

        def answers(given: Mapping[str, Any], there: Mapping[str, Tensor] | None) -> Tensor:
            return decided(self.inner, given, there) if apart else self.ask(given, there)

        said, real = [answers(whole, present)[:, None]], [torch.ones(n, 1, dtype=torch.bool)]
        for m, boxes in self._parts(inputs, present).items():
            count = boxes.shape[1]
            if not count:
                continue
            row = torch.arange(n).repeat_interleave(count)
            values = take(inputs[m], row)
            erased = self.kinds[m].erase(values, self.kinds[m].cover(values, boxes.flatten(0, 1)[:, None]))
            own = self.inner.encode(m, erased) if apart else erased
            less = {name: own if name == m else (rows if apart else take)(v, row) for name, v in whole.items()}
            there = {name: p[row] for name, p in present.items()} if present else None
            said.append(answers(less, there).view(n, count, -1))
            here = present[m] if present and m in present else torch.ones(n, dtype=torch.bool)
            real.append((lengths(boxes) > 0) & here[:, None])
        return torch.cat(said, dim=1).log_softmax(dim=2), torch.cat(real, dim=1)

    def _parts(self, inputs: Mapping[str, Value], present: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """m -> boxes [N, V_m, 2·axes] that votes lack, one each."""
        if self.points == "salient":
            n = len(inputs[self.modalities[0]])
            plain = {m: v.detach() if isinstance(v, Tensor) else v for m, v in inputs.items()}
            none = torch.zeros(n, dtype=torch.long)
            batch = Batch(self.kinds, plain, none, [str(i) for i in range(n)], present=dict(present or {}))
            return salient_points(Removal(Clean.observe(Metered(self.inner, self.kinds, remember=False), batch)))
        boxes = {}
        for m, kind in self.kinds.items():
            most = int(kind.points(inputs[m]).max()) if len(inputs[m]) else 0
            boxes[m] = kind.parts(inputs[m], most if kind.kind in POINTWISE else self.pieces)
        return boxes


@register
@dataclass(frozen=True, kw_only=True)
class ConsistencyVote(Mitigation):
    """Nothing is trained. points: "fixed" lacks each cell of a grid of `pieces` along each axis and each word or column
    in turn; "salient" the one part of each input that the model's decision hangs on, and so costs a search a sample.

    An answer of many is not turned by one part, and a vote that is not nearly unanimous says on which inputs it could
    be (`Voting.agreement`). What is attacked as a whole has to be measured with the votes inside the attack: they
    are. A part that all votes need stays decisive.
    """

    name = "consistency_vote"
    does = "Averages the answers without each region or word, and shows which answers hang on one."
    source = "ours, after the defence that the authors of MUROAN name, arXiv 2112.12792"
    needs = frozenset({Capability.SCORES})
    improves = {"robustness.decoupling": ("success",)}

    pieces: int = 3
    points: Points = "fixed"

    def __post_init__(self) -> None:
        if self.pieces < 2 or self.points not in ("fixed", "salient"):
            raise AskedWrongly("consistency_vote takes pieces of at least 2, and points 'fixed' or 'salient'")

    def apply(self, model: Model, data: Splits, trainer: Trainer, *, seed: int = 0) -> Mitigated:
        kinds = {m: k for m, k in data.audited.schema.modalities.items() if m in model.modalities}
        return Mitigated(self._voting(model, kinds), facts={"modalities": {m: _plain(k) for m, k in kinds.items()}})

    def restore(self, model: Model, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Model:
        return self._voting(model, {m: _modality(k) for m, k in facts["modalities"].items()})

    def _voting(self, model: Model, kinds: Mapping[str, Modality]) -> Voting:
        return Voting(model, kinds, pieces=self.pieces, points=self.points)


def _plain(kind: Modality) -> dict[str, Any]:
    """A kind of input as JSON has it; which words mean the same does not matter here."""
    return {"kind": kind.kind, **{n: v for n, v in asdict(kind).items() if n != "lexicon"}}


def _modality(plain: Mapping[str, Any]) -> Modality:
    settings = {n: tuple(v) if isinstance(v, list) else v for n, v in plain.items() if n != "kind"}
    return KINDS[plain["kind"]](**settings)
