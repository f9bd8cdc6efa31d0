"""Which parts of each input (cells of a picture, words of a question) speak for the model's decision?

KernelSHAP and LIME over parts, for a whole batch at once. Coalitions are drawn per modality: a changed picture is
encoded once, however many questions are asked about it and in however many *contexts* it is looked at:

    present    the other modalities as they are. Attributions add up to what removing the whole modality costs.
    absent     the other modalities neutral: what the parts say alone. They add up to what the modality adds alone.
    averaged   the mean over both, with Shapley's weights: Owen's value (1977) with modalities as unions.
               Attributions add up to the modality's Shapley value.

All samples with P parts share one design of coalitions, so their attributions are one product of matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from muroan.clean import Clean
from muroan.controllability.explainability.coalitions import Design, all_masks, kernel_shap, lime
from muroan.controllability.explainability.shapley import (
    Erasable,
    centred_logit,
    distinct,
    distinct_values,
    shapley_matrix,
)
from muroan.errors import AskedWrongly
from muroan.explainer import Attribution, Explainer
from muroan.meter import ENCODE_CHUNK, Codes
from muroan.modality import Modality, Value, take
from muroan.registry import register

VARIANT_NUMBERS = 2**20
"""Numbers (4 bytes each) in the changed inputs that are held at once."""
CONTEXTS = ("present", "absent", "averaged")

Reading = Callable[[Tensor, Tensor], Tensor]
"""What is read off logits [R, K] for the explained classes [R]: double [R]."""


@dataclass(frozen=True)
class Cut:
    """One modality of a batch, cut into parts.

    boxes [N, P, 2·axes], padded with boxes of length 0; count [N]: parts that are not padding, which come first
    values: the U distinct values; index [N]: which one a sample has; labels [U, *grid] (or [1, *grid] where all
    values are cut alike): which part each point belongs to, P where to none.
    """

    name: str
    modality: Modality
    boxes: Tensor
    count: Tensor
    values: Value
    index: Tensor
    labels: Tensor

    @property
    def most(self) -> int:
        """P."""
        return int(self.boxes.shape[1])

    def real(self) -> Tensor:
        """bool [N, P], false on padding."""
        return torch.arange(self.most) < self.count[:, None]

    def erased(self, of: Tensor, gone: Tensor) -> Value:
        """The distinct values at `of` [R] without the parts in `gone` bool [R, P]."""
        padded = torch.cat([gone, torch.zeros(len(gone), 1, dtype=torch.bool)], dim=1)
        if len(self.labels) == 1:
            cover = padded.T.contiguous().index_select(0, self.labels[0].flatten()).T.contiguous()
        else:
            cover = padded.gather(1, self.labels[of].flatten(1))
        return self.modality.erase(take(self.values, of), cover.reshape(len(of), *self.labels.shape[1:]))


def cut(clean: Clean, name: str, pieces: int) -> Cut:
    """One modality of a batch cut into about `pieces` parts per axis (`Modality.parts`)."""
    modality = clean.model.modalities[name]
    values, index = distinct_values(clean, name), clean.index[name]
    boxes = modality.parts(values, pieces)
    real = (boxes[..., boxes.shape[-1] // 2 :] > 0).all(dim=-1)
    # Padding comes last, so that the first parts of two samples mean the same to a design.
    order = real.int().argsort(dim=1, descending=True, stable=True)
    boxes = boxes.gather(1, order[..., None].expand_as(boxes))
    cover = modality.cover(values, boxes[:, :0])
    labels = torch.full(cover.shape, boxes.shape[1], dtype=torch.long)
    for part in range(boxes.shape[1]):
        labels[modality.cover(values, boxes[:, part : part + 1])] = part
    if len(labels) and bool((labels == labels[:1]).all()) and not isinstance(values, list):
        labels = labels[:1]
    return Cut(name, modality, boxes[index], real.sum(dim=1)[index], values, index, labels)


@dataclass(frozen=True)
class Contexts:
    """What a modality's parts are looked at with: B combinations of the other modalities per sample.

    index[m] [N, B] into `erasable.codes[m]`, present[m] bool [N, B]; weights double [B], adding up to 1.
    """

    erasable: Erasable
    index: dict[str, Tensor]
    present: dict[str, Tensor]
    weights: Tensor


def contexts(clean: Clean, modality: str, others: str, erasable: Erasable | None = None) -> Contexts:
    """The contexts called "present", "absent" or "averaged" in the module's text."""
    erasable = erasable or Erasable.of(clean)
    rest = [m for m in clean.model.modalities if m != modality]
    if others == "averaged":
        kept = torch.from_numpy(all_masks(len(rest)))
        # Shapley's weight of S ⊆ rest is that of the coalition S ∪ {modality}, the modality being the last player.
        weights = shapley_matrix(len(rest) + 1)[-1, 1 << len(rest) :]
    elif others in CONTEXTS:
        kept = torch.full((1, len(rest)), others == "present")
        weights = torch.ones(1, dtype=torch.double)
    else:
        raise AskedWrongly(f"others is {others!r}; it must be one of {', '.join(CONTEXTS)}")
    index, present = {}, {}
    for i, m in enumerate(rest):
        with_it = kept[:, i].expand(len(clean), -1)
        index[m] = torch.where(with_it, erasable.own[m][:, None], erasable.neutral[m][:, None])
        present[m] = with_it & erasable.here[m][:, None]
    return Contexts(erasable, index, present, weights)


def read_without(
    clean: Clean, cut: Cut, sample: Tensor, gone: Tensor, seen: Contexts, readings: tuple[Reading, ...]
) -> list[Tensor]:
    """What is read off the model for samples without some parts of one modality, averaged over contexts.

    sample [R]: which sample; gone bool [R, P]: which of its parts are missing. Returns double [R] per reading.
    Equal values without the same parts are encoded once; a value with all parts, or with none, not at all.
    """
    gone = gone & cut.real()[sample]
    out = [torch.zeros(len(sample), dtype=torch.double) for _ in readings]
    lost = gone.sum(dim=1)
    whole, empty = lost == 0, lost == cut.count[sample]

    def decide(rows: Tensor, codes: Codes, at: Tensor, here: Tensor) -> None:
        """Fuse codes[at] (one a row) with every context of the row's sample, and read."""
        b, of = len(seen.weights), sample[rows]
        index = {m: i[of].flatten() for m, i in seen.index.items()}
        present = {m: p[of].flatten() for m, p in seen.present.items()}
        index[cut.name], present[cut.name] = at.repeat_interleave(b), here.repeat_interleave(b)
        known = {m: codes if m == cut.name else c for m, c in seen.erasable.codes.items()}
        logits = clean.model.logits(known, index, present)
        explained = clean.predicted[of].repeat_interleave(b)
        for result, read in zip(out, readings, strict=True):
            result[rows] = read(logits, explained).view(-1, b) @ seen.weights

    known = seen.erasable
    plain = torch.nonzero(whole | empty).squeeze(1)
    if len(plain):
        full, of = whole[plain], sample[plain]
        at = torch.where(full, known.own[cut.name][of], known.neutral[cut.name][of])
        decide(plain, known.codes[cut.name], at, full & known.here[cut.name][of])
    changed = torch.nonzero(~(whole | empty)).squeeze(1)
    if not len(changed):
        return out
    value = cut.index[sample[changed]]
    missing = gone[changed]
    first, variant = distinct([(value, int(value.max()) + 1), *((column, 2) for column in missing.T)])
    order = variant.argsort(stable=True)
    ends = torch.bincount(variant, minlength=len(first)).cumsum(0).tolist()
    step = _variants_at_once(cut)
    for start in range(0, len(first), step):
        stop = min(start + step, len(first))
        at = first[start:stop]
        some = cut.erased(value[at], missing[at])
        # Few words leave few texts, which come again; other parts hardly ever leave what they left before.
        codes = clean.model.encode(cut.name, some, anew=isinstance(some, Tensor))
        rows = order[(ends[start - 1] if start else 0) : ends[stop - 1]]
        decide(changed[rows], codes, variant[rows] - start, known.here[cut.name][sample[changed[rows]]])
    return out


def _variants_at_once(cut: Cut) -> int:
    each = cut.values[0].numel() if isinstance(cut.values, Tensor) else 1
    return max(1, min(ENCODE_CHUNK, VARIANT_NUMBERS // max(each, 1)))


def probability(logits: Tensor, explained: Tensor) -> Tensor:
    """The explained class's probability, double [R]."""
    return logits.double().softmax(dim=1).gather(1, explained[:, None]).squeeze(1)


@dataclass(frozen=True)
class PartValues:
    """values double [N, P], 0 on padding; nothing and everything [N]: the score without and with all parts."""

    cut: Cut
    values: Tensor
    nothing: Tensor
    everything: Tensor


Designs = Callable[[int], Design]


def attribute(clean: Clean, cut: Cut, designs: Designs, seen: Contexts) -> PartValues:
    """Attributions of the parts of one modality for every sample, each by the design for its number of parts."""
    groups = [(int(p), torch.nonzero(cut.count == p).squeeze(1)) for p in torch.unique(cut.count)]
    samples, gone, shapes = [], [], []
    for parts, members in groups:
        kept = designs(parts).masks
        rows = torch.ones(len(kept) + 2, cut.most, dtype=torch.bool)
        rows[1, :] = False
        rows[2:, :parts] = ~kept
        samples.append(members.repeat_interleave(len(rows)))
        gone.append(rows.repeat(len(members), 1))
        shapes.append(len(rows))
    (scores,) = read_without(clean, cut, torch.cat(samples), torch.cat(gone), seen, (centred_logit,))
    values = torch.zeros(len(clean), cut.most, dtype=torch.double)
    nothing, everything = torch.zeros(len(clean)).double(), torch.zeros(len(clean)).double()
    start = 0
    for (parts, members), size in zip(groups, shapes, strict=True):
        found = scores[start : start + size * len(members)].view(len(members), size)
        start += found.numel()
        nothing[members], everything[members] = found[:, 0], found[:, 1]
        values[members, :parts] = designs(parts).attributions(found[:, 0], found[:, 1], found[:, 2:])
    return PartValues(cut, values, nothing, everything)


@register
@dataclass(frozen=True, kw_only=True)
class Parts(Explainer):
    """KernelSHAP or LIME over the parts of every modality.

    method: "kernel shap" or "lime"; others: the context, see the module's text; cells, pieces: parts per axis of
    modalities with two axes and with one (a text of at most `pieces` words is cut into words); coalitions: encoded
    variants per sample and modality.

    `modalities` holds what the parts add up to. Known trade-offs (accepted): a part is removed by making it
    neutral, which a model may never have seen; with fewer coalitions than 2^P − 2 the values are approximations,
    and all samples with P parts share the same coalitions, so their errors are alike.
    """

    name = "parts"
    source = "Lundberg & Lee, NeurIPS 2017; Ribeiro, Singh & Guestrin, KDD 2016; Owen 1977"

    method: str = "kernel shap"
    others: str = "present"
    cells: int = 4
    pieces: int = 16
    coalitions: int = 128

    def __post_init__(self) -> None:
        if self.method not in ("kernel shap", "lime"):
            raise AskedWrongly(f"method is {self.method!r}; it must be 'kernel shap' or 'lime'")
        if self.others not in CONTEXTS:
            raise AskedWrongly(f"others is {self.others!r}; it must be one of {', '.join(CONTEXTS)}")
        if min(self.cells, self.pieces) < 1 or self.coalitions < 2:
            raise AskedWrongly("cells and pieces must be at least 1, coalitions at least 2")

    def per_axis(self, modality: Modality) -> int:
        """Parts per axis of a modality."""
        return self.pieces if modality.axes == 1 else self.cells

    def design(self, parts: int) -> Design:
        """The coalitions for a sample of that many parts."""
        solve = kernel_shap if self.method == "kernel shap" else lime
        return solve(parts, self.coalitions)

    def values(self, clean: Clean) -> dict[str, PartValues]:
        """The attributions of every modality's parts."""
        erasable = Erasable.of(clean)
        return {
            m: attribute(
                clean,
                cut(clean, m, self.per_axis(modality)),
                self.design,
                contexts(clean, m, self.others, erasable),
            )
            for m, modality in clean.model.modalities.items()
        }

    def explain(self, clean: Clean) -> Attribution:
        found = self.values(clean)
        return Attribution(
            clean.predicted,
            {m: v.everything - v.nothing for m, v in found.items()},
            parts={m: (v.cut.boxes, v.values) for m, v in found.items()},
        )
