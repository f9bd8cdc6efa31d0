"""How much does each modality speak for the model's decision, and how much do only several together?

Exact Shapley values over modalities (Shapley 1953; Lundberg & Lee 2017, equation 4) and the pairwise Shapley
interaction index (Grabisch & Roubens 1999). The players are the modalities of a sample; a coalition is worth the
score that the model gives when every other modality is neutral. A model that can be taken apart encodes each
value once and the neutral one once; all 2^n coalitions are then fused.

The score that is explained is the *centred logit* of the model's own clean decision: its logit minus the mean of
all logits. It is linear in the logits, so a model that adds its modalities up has interactions of exactly zero,
which holds neither for probabilities nor for log-odds; and it is the same for logits and for log-probabilities,
which differ by a constant per row, so a model and its black box get one explanation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import torch
from torch import Tensor

from muroan.clean import Clean
from muroan.controllability.explainability.coalitions import all_masks
from muroan.errors import NotApplicable
from muroan.explainer import Attribution, Explainer
from muroan.meter import FUSE_CHUNK, Codes, Metered
from muroan.modality import Value, take
from muroan.registry import register

MOST = 10
"""Modalities whose 2^n coalitions are still worked out one by one."""


def centred_logit(logits: Tensor, explained: Tensor) -> Tensor:
    """The explained class's logit minus the mean logit: logits [R, K], classes [R] -> double [R]."""
    scores = logits.double()
    return scores.gather(1, explained[:, None]).squeeze(1) - scores.mean(dim=1)


@cache
def shapley_matrix(players: int) -> Tensor:
    """[n, 2^n]: Shapley values = matrix @ worths, coalition b holding the players whose bit is set in b."""
    masks = torch.from_numpy(all_masks(players))
    sizes = masks.sum(dim=1).tolist()
    gain = [math.factorial(s - 1) * math.factorial(players - s) if s else 0 for s in sizes]
    loss = [math.factorial(s) * math.factorial(players - s - 1) if s < players else 0 for s in sizes]
    signed = torch.where(masks.T, torch.tensor(gain).double(), -torch.tensor(loss).double())
    return signed / math.factorial(players)


@cache
def interaction_matrix(players: int) -> Tensor:
    """[pairs, 2^n]: pairwise Shapley interaction indices = matrix @ worths, pairs in `itertools` order.

    I(i, j) = Σ_S |S|! (n − |S| − 2)! / (n − 1)! · (v(S ∪ ij) − v(S ∪ i) − v(S ∪ j) + v(S)), S without i and j.
    """
    masks = torch.from_numpy(all_masks(players))
    rows = []
    for i, j in combinations(range(players), 2):
        others = masks.sum(dim=1) - masks[:, i].long() - masks[:, j].long()
        weight = [math.factorial(t) * math.factorial(players - t - 2) / math.factorial(players - 1) for t in others]
        sign = torch.where(masks[:, i] == masks[:, j], 1.0, -1.0).double()
        rows.append(sign * torch.tensor(weight, dtype=torch.double))
    return torch.stack(rows) if rows else torch.zeros(0, 2**players, dtype=torch.double)


@dataclass(frozen=True)
class Erasable:
    """Codes of a batch that also hold what the model sees when a modality is missing.

    codes[m]: the distinct values' codes, then the neutral one (one for all samples where it is the same for all).
    own[m], neutral[m] [N]: where a sample's own and its neutral code are. here[m] bool [N]: false where the source
    has no value.
    """

    model: Metered
    codes: Mapping[str, Codes]
    own: Mapping[str, Tensor]
    neutral: Mapping[str, Tensor]
    here: Mapping[str, Tensor]

    @staticmethod
    def of(clean: Clean) -> Erasable:
        """The clean pass's codes and the neutral values, encoded once."""
        codes, neutral, here = {}, {}, {}
        for m in clean.index:
            blank, which = _neutral(clean, m)
            known = clean.codes[m]
            codes[m] = Codes.concat([known, clean.model.encode(m, blank)])
            neutral[m] = known.n + which
            here[m] = clean.batch.present.get(m, torch.ones(len(clean), dtype=torch.bool))
        return Erasable(clean.model, codes, clean.index, neutral, here)

    def take(self, samples: Tensor) -> Erasable:
        """Some of the samples."""
        mine = [{m: t[samples] for m, t in found.items()} for found in (self.own, self.neutral, self.here)]
        return Erasable(self.model, self.codes, *mine)

    def logits(self, index: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Logits [R, K] of combinations of codes; combinations that occur twice are decided once."""
        columns = [(at, self.codes[m].n) for m, at in index.items()] + [(p, 2) for p in present.values()]
        first, inverse = distinct(columns)
        if len(first) == len(inverse):
            return self.model.logits(self.codes, index, present)
        found = self.model.logits(
            self.codes, {m: at[first] for m, at in index.items()}, {m: p[first] for m, p in present.items()}
        )
        return found[inverse]


def distinct(columns: Sequence[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """Distinct rows of integer columns, each given with the number of values that it can take.

    Returns (first [D], inverse [R]): a row that shows the d-th distinct row, and which distinct row each row is.
    """
    key = columns[0][0].long()
    size = columns[0][1]
    for column, values in columns[1:]:
        if size > 2**62 // values:  # rename what there is, so that the key stays in 64 bits
            found, key = torch.unique(key, return_inverse=True)
            size = len(found)
        key, size = key * values + column, size * values
    found, inverse = torch.unique(key, return_inverse=True)
    first = torch.full((len(found),), len(key)).scatter_reduce(0, inverse, torch.arange(len(key)), reduce="amin")
    return first, inverse


def distinct_values(clean: Clean, modality: str) -> Value:
    """The values whose codes `clean.codes[modality]` are, in the same order."""
    first, _ = distinct([(clean.index[modality], clean.codes[modality].n)])
    return take(clean.batch.inputs[modality], first)


def _neutral(clean: Clean, modality: str) -> tuple[Value, Tensor]:
    """(distinct neutral values, which one each sample has [N]).

    What "nothing" looks like depends on a value's size, not on what was there, so one value of each size is erased;
    mostly this leaves a single neutral value.
    """
    kind, values = clean.model.modalities[modality], clean.batch.inputs[modality]
    _, size = torch.unique(kind.grid(values), dim=0, return_inverse=True)
    first, size = distinct([(size, len(clean))])
    blank = kind.neutral(take(values, first))
    alike = bool((blank == blank[:1]).all()) if isinstance(blank, Tensor) else len(set(blank)) == 1
    if alike:
        return take(blank, [0]), torch.zeros(len(clean), dtype=torch.long)
    return blank, size


@dataclass(frozen=True)
class Worths:
    """What every coalition of modalities is worth, per sample.

    score double [N, 2^n]: the centred logit of the explained class; decision [N, 2^n]: the class decided on.
    Coalition b keeps the modalities whose bit is set in b, in the model's order.
    """

    modalities: tuple[str, ...]
    explained: Tensor
    score: Tensor
    decision: Tensor

    @property
    def nothing(self) -> Tensor:
        """[N]: the score with every modality neutral."""
        return self.score[:, 0]

    @property
    def everything(self) -> Tensor:
        """[N]: the score of the sample as it is."""
        return self.score[:, -1]

    def without(self, modality: str) -> Tensor:
        """[N]: the class decided on when one modality is missing."""
        return self.decision[:, -1 - (1 << self.modalities.index(modality))]

    def alone(self) -> dict[str, Tensor]:
        """[N] each: what a modality adds to nothing."""
        return {m: self.score[:, 1 << i] - self.nothing for i, m in enumerate(self.modalities)}

    def shapley(self) -> dict[str, Tensor]:
        """[N] each: Shapley values; they add up to everything − nothing."""
        values = self.score @ shapley_matrix(len(self.modalities)).T
        return {m: values[:, i] for i, m in enumerate(self.modalities)}

    def pairs(self) -> dict[tuple[str, str], Tensor]:
        """[N] each: the Shapley interaction index of two modalities; 0 where they add up."""
        values = self.score @ interaction_matrix(len(self.modalities)).T
        return {pair: values[:, i] for i, pair in enumerate(combinations(self.modalities, 2))}

    def interaction(self) -> Tensor:
        """[N]: what no modality adds alone, everything − nothing − Σ alone."""
        return self.everything - self.nothing - torch.stack(list(self.alone().values())).sum(dim=0)


def worths(clean: Clean, erasable: Erasable | None = None) -> Worths:
    """The scores of all coalitions of modalities: towards the model's own clean decision.

    `NotApplicable` for more than `MOST` modalities.
    """
    names = tuple(clean.model.modalities)
    if len(names) > MOST:
        raise NotApplicable(f"exact Shapley values take 2^n coalitions; {len(names)} modalities are more than {MOST}")
    erasable = erasable or Erasable.of(clean)
    n, masks = len(clean), torch.from_numpy(all_masks(len(names)))
    score = torch.empty(n, len(masks), dtype=torch.double)
    decision = torch.empty(n, len(masks), dtype=torch.long)
    score[:, -1], decision[:, -1] = centred_logit(clean.logits, clean.predicted), clean.predicted
    size = max(1, FUSE_CHUNK // n)
    for start in range(0, len(masks) - 1, size):
        some = masks[start : min(start + size, len(masks) - 1)]
        kept = {m: some[:, i].repeat(n) for i, m in enumerate(names)}  # samples outside, coalitions inside
        of = torch.arange(n).repeat_interleave(len(some))
        index = {m: torch.where(kept[m], erasable.own[m][of], erasable.neutral[m][of]) for m in names}
        logits = erasable.logits(index, {m: kept[m] & erasable.here[m][of] for m in names})
        at = slice(start, start + len(some))
        score[:, at] = centred_logit(logits, clean.predicted[of]).view(n, -1)
        decision[:, at] = logits.argmax(dim=1).view(n, -1)
    return Worths(names, clean.predicted, score, decision)


@register
@dataclass(frozen=True, kw_only=True)
class Shapley(Explainer):
    """Exact Shapley values of the modalities, and what no modality adds alone.

    Costs one encoding of the neutral value per modality and 2^n − 1 fusions a sample. Known trade-offs (accepted):
    "missing" means the modality's neutral value, which the model may never have seen; with two modalities an
    interaction is split in halves by definition, so read the values beside `interaction`.
    """

    name = "shapley"
    source = "Shapley 1953; Lundberg & Lee, NeurIPS 2017, equation 4"

    def explain(self, clean: Clean) -> Attribution:
        found = worths(clean)
        return Attribution(found.explained, found.shapley(), found.interaction())
