"""RobustMixGen: pictures with an object are mixed with pictures without one, and the object stays at full strength.

Source: Kim, Im, Lee, Lee and Kang, Neurocomputing 2024, doi 10.1016/j.neucom.2024.129167. What is here is our reading
of the offline version of July 2023, not of the later one that detects objects while it trains. MixGen interpolates
whole pictures, so that an object fades into others and what stands behind it is learnt with it. Here

    picture = the object's own inside its box, (1 − ground) · its own + ground · the partner's outside
    caption = the partner's, without its full stop, a conjunction, the object's own

A picture is of an object where its box covers between `least` and `most` of it, a background where it covers less (or
has none), and unusable where it covers more.

Chosen here: partners come from the same batch, not from all data; pictures of one data set have one size, so nothing is
resized and boxes hold as they are; a bounding box is (y, x, height, width) in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.mitigations.mixgen import Mix, PairTraining, cut_short
from muroan.modality import boxes_cover, where
from muroan.model import Model
from muroan.registry import open_function, register

CONJUNCTIONS = (
    "and", "also", "as well as", "moreover", "furthermore", "in addition", "besides", "similarly", "likewise",
    "consequently", "therefore", "thus", "hence",
)  # fmt: skip
OBJECT, BACKGROUND, UNUSABLE = 0, 1, 2
NAMES = ("object", "background", "unusable")
TOLERANCE = 0.1
"""A pixel is of another colour than the border where a channel differs by more."""
PLAIN = 0.8
"""Share of border pixels that must be of the border's colour for a picture to stand on a plain ground."""
ROWS = 512

Boxes = Callable[[Tensor, Sequence[str]], Tensor]
"""(pictures [N, C, H, W], ids of their samples) -> long [N, 4] as (y, x, height, width); height 0: no object."""


def border_boxes(pictures: Tensor, ids: Sequence[str] = ()) -> Tensor:
    """The bounding box of all that differs from the colour of a picture's border, long [N, 4].

    Right for one object on a plain ground. A picture whose border has no colour of its own (a scene) gets no box.
    """
    x = pictures
    border = torch.cat([x[..., 0, :], x[..., -1, :], x[..., 1:-1, 0], x[..., 1:-1, -1]], dim=-1)
    colour = border.median(dim=-1).values
    plain = ((border - colour[..., None]).abs().amax(dim=1) <= TOLERANCE).double().mean(dim=1) >= PLAIN
    other = (x - colour[..., None, None]).abs().amax(dim=1) > TOLERANCE
    lines = (other.any(dim=2), other.any(dim=1))  # rows, columns
    starts = [line.int().argmax(dim=1) for line in lines]
    ends = [line.shape[1] - line.flip(1).int().argmax(dim=1) for line in lines]
    boxes = torch.stack([*starts, *(end - start for start, end in zip(starts, ends, strict=True))], dim=1)
    return torch.where((plain & other.flatten(1).any(dim=1))[:, None], boxes, 0)


def categories(boxes: Tensor, extent: Sequence[int], least: float, most: float) -> Tensor:
    """What each picture is, by the share of it that its box covers: `OBJECT`, `BACKGROUND` or `UNUSABLE`, long [N]."""
    covered = boxes[:, 2].double() * boxes[:, 3] / (extent[0] * extent[1])
    return torch.where(covered < least, BACKGROUND, torch.where(covered <= most, OBJECT, UNUSABLE))


def cut_mixup(objects: Tensor, grounds: Tensor, boxes: Tensor, ground: float = 0.5) -> Tensor:
    """Pictures [N, C, H, W]: `objects` inside their boxes [N, 4], outside mixed with `ground` of `grounds`."""
    inside = boxes_cover(boxes[:, None], objects.shape[-2:])[:, None]
    return torch.where(inside, objects, (1 - ground) * objects + ground * grounds)


def conjoined(background: str, own: str, conjunction: str) -> str:
    """Both captions, the background's first and without its full stop."""
    return f"{background.rstrip().rstrip('.').rstrip()} {conjunction} {own}"


@register
@dataclass(frozen=True, kw_only=True)
class RobustMixGen(PairTraining):
    """boxes: where objects are, python:package.module:name of a function (pictures [N, C, H, W], ids) -> [N, 4] of
    (y, x, height, width) in pixels; left out, the bounding box of what differs from the picture's border colour, which
    is right for objects on plain grounds alone. probability: that a pair is mixed; ground: the partner's share outside
    the box.
    """

    name = "robust_mixgen"
    does = "Trains image and text encoders on objects before other backgrounds, against what goes along."
    source = "Kim et al., Neurocomputing 2024, doi 10.1016/j.neucom.2024.129167; our reading of its offline version"

    boxes: str = ""
    least: float = 0.1
    most: float = 1.0
    probability: float = 0.5
    ground: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.least <= self.most <= 1 or not 0 <= self.probability <= 1 or not 0 <= self.ground <= 1:
            raise AskedWrongly(f"robust_mixgen's shares and probability are in 0 to 1, least above 0: {self}")

    def mixing(self, model: Model, data: Dataset, image: str, text: str) -> tuple[Mix, tuple[str, ...]]:
        known = self.known(data, image)

        def mix(batch: Batch) -> Batch:
            return self.mixed(batch, image, text, torch.stack([known[i] for i in batch.ids]))

        return mix, (*self._notes(data, image, known), *cut_short(model, data, text))

    def known(self, data: Dataset, image: str) -> dict[str, Tensor]:
        """Each sample's box, asked for once."""
        box: Boxes = open_function(self.boxes) if self.boxes else border_boxes
        known: dict[str, Tensor] = {}
        for batch in data.batches(ROWS):
            boxes = torch.as_tensor(box(batch.inputs[image], batch.ids), dtype=torch.long)
            if tuple(boxes.shape) != (len(batch), 4):
                raise AskedWrongly(f"{self.boxes} gave boxes of shape {tuple(boxes.shape)} for {len(batch)} pictures")
            known |= zip(batch.ids, boxes, strict=True)
        return known

    def mixed(self, batch: Batch, image: str, text: str, boxes: Tensor) -> Batch:
        """A batch in which some pairs of an object have a background's beside them, and the other way round."""
        pictures: Tensor = batch.inputs[image]
        of = categories(boxes, pictures.shape[-2:], self.least, self.most)
        own = torch.arange(len(batch))
        objects, grounds = (of == OBJECT).nonzero().flatten(), (of == BACKGROUND).nonzero().flatten()
        if not len(objects) or not len(grounds):
            return batch
        chosen = (torch.rand(len(batch)) < self.probability) & (of != UNUSABLE)
        some = {k: k_[torch.randint(len(k_), (len(batch),))] for k, k_ in ((OBJECT, objects), (BACKGROUND, grounds))}
        thing = torch.where(of == OBJECT, own, some[OBJECT])
        scene = torch.where(of == BACKGROUND, own, some[BACKGROUND])
        word = torch.randint(len(CONJUNCTIONS), (len(batch),)).tolist()
        texts = batch.inputs[text]
        pairs = zip(scene.tolist(), thing.tolist(), word, strict=True)
        said = [conjoined(texts[s], texts[t], CONJUNCTIONS[w]) for s, t, w in pairs]
        shown = cut_mixup(pictures[thing], pictures[scene], boxes[thing], self.ground)
        return batch.with_inputs(**{image: where(chosen, shown, pictures), text: where(chosen, said, texts)})

    def _notes(self, data: Dataset, image: str, known: dict[str, Tensor]) -> tuple[str, ...]:
        if not known:
            return ()
        size = data.schema.modalities[image].size  # type: ignore[attr-defined]  # an image's
        of = categories(torch.stack(list(known.values())), size, self.least, self.most)
        shares = [float((of == k).double().mean()) for k in range(len(NAMES))]
        said = ", ".join(f"{name} {share:.0%}" for name, share in zip(NAMES, shares, strict=True))
        source = self.boxes or "what differs from the border's colour"
        notes = (f"of {len(known)} training pictures: {said}; boxes: {source}",)
        lacking = next((NAMES[k] for k in (OBJECT, BACKGROUND) if not shares[k]), None)
        if lacking is None:
            return notes
        return *notes, f"there is no {lacking}, so nothing was mixed; name boxes of your own, or other limits"
