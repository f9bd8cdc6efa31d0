"""MixGen: pairs of picture and caption joined with others, pictures by interpolation, captions end to end.

Source: Hao et al., WACV 2023, arXiv 2206.08358. For the first M pairs of a batch, M a quarter of it,

    I_i ← share · I_i + (1 − share) · I_{i+M},      T_i ← T_i + " " + T_{i+M}

and the others stay as they are. Training aligns both sides of each pair with symmetric InfoNCE.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from muroan.batch import Batch, Schema
from muroan.data.pairs import FOUND
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.losses import alignment, missed, pair_codes
from muroan.mitigation import Objective, Retraining
from muroan.model import Capability, Model
from muroan.randomness import choose
from muroan.registry import register

SEEN = 256
"""Training pairs on which it is seen whether joined captions reach the encoder whole."""

Mix = Callable[[Batch], Batch]
"""A batch of pairs -> as many pairs to train on."""


def mixed(pictures: Tensor, texts: Sequence[str], pairs: int, share: float = 0.5) -> tuple[Tensor, list[str]]:
    """The first `pairs` of N pairs joined with the `pairs` after them; the others are the same bits.

    pictures [N, ...]; share: of the own picture, 1 leaves pictures as they are. Of a small batch no more are joined
    than have a partner within it.
    """
    m = min(pairs, len(texts) // 2)
    if m < 1:
        return pictures, list(texts)
    joined = torch.lerp(pictures[m : 2 * m], pictures[:m], share)
    said = [f"{a} {b}" for a, b in zip(texts[:m], texts[m : 2 * m], strict=True)]
    return torch.cat([joined, pictures[m:]]), said + list(texts[m:])


def sides(model: Model, schema: Schema) -> tuple[str, str] | None:
    """The names of the picture and of the text of an aligned model, None if it has not one of each."""
    of_kind = {schema.modalities[m].kind: m for m in model.modalities}
    if set(of_kind) != {"image", "text"} or len(model.modalities) != 2:
        return None
    return of_kind["image"], of_kind["text"]


def whole(batch: Batch) -> Batch:
    """The pairs that lack neither side."""
    if not batch.present:
        return batch
    return batch.take(torch.stack(list(batch.present.values())).all(dim=0).nonzero().flatten())


@dataclass(frozen=True, kw_only=True)
class PairTraining(Retraining):
    """Trains two encoders on pairs that a subclass has changed; the weights kept are those that find most untouched
    pairs of the part held out."""

    place = "robustness/distribution_shift"
    needs = frozenset({Capability.SCORES, Capability.ALIGNED, Capability.TRAIN})
    stops_early = False

    def applies(self, model: Model, schema: Schema) -> str | None:
        if sides(model, schema) is None:
            return f"it mixes pairs of a picture and a text; {model.name} has {', '.join(model.modalities)}"
        if schema.classes != FOUND:
            return "it needs pairs that belong together, as data of retrieval are; these have classes of their own"
        return None

    @abstractmethod
    def mixing(self, model: Model, data: Dataset, image: str, text: str) -> tuple[Mix, tuple[str, ...]]:
        """What is done to batches of these data, whose sides have these names, and notes on it."""

    def objective(self, model: Model, data: Dataset, seed: int) -> Objective:
        names = sides(model, data.schema)
        assert names is not None
        mix, notes = self.mixing(model, data, *names)

        def loss(batch: Batch) -> Tensor:
            pairs = whole(batch)
            return alignment(model, mix(pairs)) if len(pairs) else _nothing(model)

        def judge(batch: Batch) -> Tensor:
            pairs = whole(batch)
            return missed(*pair_codes(model, pairs)) if len(pairs) else torch.zeros(())

        return Objective(loss, judge, notes=lambda: notes)


def _nothing(model: Model) -> Tensor:
    """0, with a graph to the weights, for a batch without a whole pair."""
    return torch.stack([p.sum() * 0 for p in model.trainable().parameters() if p.requires_grad]).sum()


@register
@dataclass(frozen=True, kw_only=True)
class MixGen(PairTraining):
    """share: of the own picture in a joined one; part: of a batch that is joined, half at most (0: plain training)."""

    name = "mixgen"
    does = "Trains image and text encoders on pairs joined with others: interpolated, end to end."
    source = "Hao et al., WACV 2023, arXiv 2206.08358"

    share: float = 0.5
    part: float = 0.25

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or not 0 <= self.part <= 0.5:
            raise AskedWrongly("mixgen's share is in 0 to 1 and its part of a batch in 0 to one half")

    def mixing(self, model: Model, data: Dataset, image: str, text: str) -> tuple[Mix, tuple[str, ...]]:
        def mix(batch: Batch) -> Batch:
            pairs = int(len(batch) * self.part)
            shown, said = mixed(batch.inputs[image], batch.inputs[text], pairs, self.share)
            return batch.with_inputs(**{image: shown, text: said})

        return mix, cut_short(model, data, text) if self.part else ()


def cut_short(model: Model, data: Dataset, text: str) -> tuple[str, ...]:
    """A note if captions joined with another do not reach the encoder whole, where the model shows its words.

    Then the second text is lost where the second picture is not.
    """
    if Capability.EMBEDDINGS not in model.capabilities:
        return (f"{model.name} does not show its words: whether joined captions are cut off is not known",)
    batch = data.load(choose(data.ids, SEEN, "mixgen captions")).batch
    if batch is None or len(batch) < 2:
        return ()
    first = batch.inputs[text]
    second = [*first[1:], first[0]]
    both = [f"{a} {b}" for a, b in zip(first, second, strict=True)]
    with torch.no_grad():
        reached, wanted = (model.embed(text, t).words.amax(dim=1) for t in (both, second))
    ahead = torch.tensor([len(t.split()) for t in first])
    lost = float((reached < ahead + wanted).double().mean())
    return (f"{lost:.0%} of joined captions are cut off before their end by the text encoder",) if lost else ()
