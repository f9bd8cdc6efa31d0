"""Kinds of input: what a value is, what its parts are, what "nothing" looks like, how far two values are.

Every modality is seen as a grid of *points* (pixels, words, audio frames, table columns, time steps). A *part*
is a box of points, so that one operation, `erase`, serves decoupling attacks, missing modalities, Shapley and
deletion tests alike. Boxes are integer tensors whose last axis is (start..., length...): (y, x, h, w) for
images, (start, length) for everything with one axis. A box of length 0 is padding and erases nothing.

A value of a whole batch is a float tensor [N, ...] or, for text, a list of N strings.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from muroan.errors import BadSample
from muroan.randomness import Words, uniform

Value = Any  # Tensor [N, ...] or list[str]; the modality that owns it knows which


def take(value: Value, index: Tensor | Sequence[int]) -> Value:
    """Rows of a batch value, in the order of `index` (repeats allowed)."""
    if isinstance(value, Tensor):
        return value.index_select(0, torch.as_tensor(index, dtype=torch.long))  # ten times faster than value[index]
    picks = index.tolist() if isinstance(index, Tensor) else index
    return [value[i] for i in picks]


def concatenate(values: Sequence[Value]) -> Value:
    """Batch values one after another."""
    if isinstance(values[0], Tensor):
        return torch.cat(list(values))
    return [v for value in values for v in value]


def where(choose: Tensor, a: Value, b: Value) -> Value:
    """Rows of `a` where `choose` [N] is true, of `b` elsewhere."""
    if isinstance(a, Tensor):
        return torch.where(rowwise(choose, a), a, b)
    return [x if c else y for c, x, y in zip(choose.tolist(), a, b, strict=True)]


def differ(a: Value, b: Value) -> Tensor:
    """Whether row i of one is another value than row i of the other, bool [N]."""
    if isinstance(a, Tensor):
        unlike: Tensor = (a != b).flatten(1).any(dim=1)
        return unlike
    return torch.tensor([x != y for x, y in zip(a, b, strict=True)], dtype=torch.bool)


def put(value: Value, index: Tensor, new: Value) -> None:
    """Writes the rows of `new` into those of a batch value at `index`, in place."""
    if isinstance(value, Tensor):
        value[index] = new
    else:
        for i, row in zip(index.tolist(), new, strict=True):
            value[i] = row


def copy(value: Value) -> Value:
    """A batch value of its own to write into."""
    return value.clone() if isinstance(value, Tensor) else list(value)


def rowwise(one: Tensor, x: Tensor) -> Tensor:
    """One number a row [N], in a shape that broadcasts over the rows of x [N, ...]."""
    return one.view(-1, *[1] * (x.ndim - 1))


def boxes_cover(boxes: Tensor, extent: Sequence[int]) -> Tensor:
    """The union of boxes as a mask over points.

    boxes: [N, R, 2·axes]; extent: the grid's size per axis. Returns bool [N, *extent], true where any of
    the N-th row's boxes lies. Boxes may overrun the border; what lies outside is cut off.
    """
    axes = boxes.shape[-1] // 2
    mask: Tensor | None = None
    for axis in range(axes):
        at = torch.arange(extent[axis])
        start, length = boxes[..., axis, None], boxes[..., axes + axis, None]
        inside = (at >= start) & (at < start + length)  # [N, R, extent]
        shape = [*inside.shape[:2], *[1] * axis, extent[axis], *[1] * (axes - axis - 1)]
        inside = inside.view(shape)
        mask = inside if mask is None else mask & inside
    assert mask is not None
    return mask.any(dim=1)


@dataclass(frozen=True, kw_only=True)
class Modality(ABC):
    """A kind of input. Subclasses are small frozen dataclasses, so that a schema compares by value."""

    kind: ClassVar[str]
    axes: ClassVar[int] = 1
    continuous: ClassVar[bool] = True
    point: ClassVar[str] = "point"
    low: ClassVar[float] = -float("inf")
    high: ClassVar[float] = float("inf")

    @abstractmethod
    def check(self, value: Any) -> Any:
        """One sample's value in the canonical form; raises `BadSample` with the reason if it is unusable."""

    @abstractmethod
    def blank(self) -> Any:
        """Any one checked value: the shape that a missing value takes before it is made neutral."""

    def collate(self, values: Sequence[Any]) -> Value:
        """Checked single values as one batch value."""
        return torch.stack([torch.as_tensor(v) for v in values])

    @abstractmethod
    def grid(self, x: Value) -> Tensor:
        """Points along each axis, long [N, axes]."""

    def points(self, x: Value) -> Tensor:
        """How many points each sample has, long [N]."""
        return self.grid(x).prod(dim=1)

    @abstractmethod
    def erase(self, x: Value, cover: Tensor) -> Value:
        """Points under `cover` (bool [N, *grid], padded to the longest) replaced by nothing or neutral."""

    def neutral(self, x: Value) -> Value:
        """The same samples with every point erased: what the model sees when the modality is missing."""
        if not len(x):
            return x
        extent = [int(e) for e in self.grid(x).max(dim=0).values]
        return self.erase(x, torch.ones(len(x), *extent, dtype=torch.bool))

    def cover(self, x: Value, boxes: Tensor) -> Tensor:
        """Union of `boxes` [N, R, 2·axes] over this batch's grid, clipped to each sample: bool [N, *grid]."""
        grid = self.grid(x)
        extent = [int(e) for e in grid.max(dim=0).values] if len(x) else [0] * self.axes
        mask = boxes_cover(boxes, extent)
        for axis in range(self.axes):
            at = torch.arange(extent[axis]).view(1, *[1] * axis, -1, *[1] * (self.axes - axis - 1))
            mask = mask & (at < grid[:, axis].view(-1, *[1] * self.axes))
        return mask

    def parts(self, x: Value, pieces: int) -> Tensor:
        """A partition of each sample into about `pieces` boxes per axis: long [N, P, 2·axes], padded with 0.

        Samples with fewer points than pieces get one box a point.
        """
        grid = self.grid(x)
        per_axis = []
        for axis in range(self.axes):
            size = grid[:, axis, None]
            edge = torch.arange(pieces + 1)[None, :] * size // pieces
            few = torch.minimum(torch.arange(pieces + 1)[None, :], size)
            edge = torch.where(size < pieces, few, edge)
            per_axis.append((edge[:, :-1], edge[:, 1:] - edge[:, :-1]))
        starts = torch.stack(_outer([s for s, _ in per_axis]), dim=-1)
        lengths = torch.stack(_outer([n for _, n in per_axis]), dim=-1)
        return torch.cat([starts, lengths], dim=-1).flatten(1, self.axes)

    def whole(self, x: Value) -> Tensor:
        """One box a sample that holds all its points: long [N, 1, 2·axes]."""
        grid = self.grid(x)
        return torch.cat([torch.zeros_like(grid), grid], dim=-1)[:, None, :]

    # Geometry. Continuous modalities are tensors; p is inf or 2, over all of a sample's values.

    def distance(self, a: Tensor, b: Tensor, p: float) -> Tensor:
        """‖a − b‖_p per sample, float [N], in the value space that `low` and `high` bound."""
        flat = (a - b).flatten(1)
        return flat.abs().amax(dim=1) if p == float("inf") else flat.norm(p=p, dim=1)

    def project(self, a: Tensor, origin: Tensor, p: float, radius: float) -> Tensor:
        """The nearest value to `a` inside the ball of `radius` around `origin` and inside [low, high].

        For p = 2 the ball is projected on first and the range second, which stays inside both (a clip
        towards a range that contains the origin never lengthens the difference).
        """
        delta = a - origin
        if p == float("inf"):
            delta = delta.clamp(-radius, radius)
        else:
            norm = rowwise(delta.flatten(1).norm(dim=1).clamp_min(1e-12), a)
            delta = delta * (radius / norm).clamp_max(1.0)
        return (origin + delta).clamp(self.low, self.high)

    def random_change(self, x: Tensor, p: float, radius: float, keys: Words) -> Tensor:
        """The control of every attack: a change of equal size in a random direction.

        For p = inf every value moves by ±radius (random signs: the largest change the budget allows), for
        p = 2 the direction is uniform on the sphere. The result is projected, so it stays in the budget.
        """
        draws = torch.from_numpy(uniform(keys, *x.shape[1:]))  # double: rounded to float, a draw can be 1
        if p == float("inf"):
            delta = torch.where(draws < 0.5, -radius, radius).to(x.dtype)
        else:
            gauss = torch.special.ndtri(draws).to(x.dtype)
            delta = gauss * rowwise(radius / gauss.flatten(1).norm(dim=1), x)
        return self.project(x + delta, x, p, radius)


def _outer(vectors: list[Tensor]) -> list[Tensor]:
    """[N, P_a] for each axis a -> each broadcast to [N, P_1, ..., P_A]."""
    n, axes = vectors[0].shape[0], len(vectors)
    shape = [n, *[v.shape[1] for v in vectors]]
    return [v.view(n, *[1] * i, -1, *[1] * (axes - i - 1)).expand(shape) for i, v in enumerate(vectors)]


def _finite(value: Any, what: str) -> Tensor:
    try:
        tensor = torch.as_tensor(value, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise BadSample(f"{what} is not numeric: {error}") from error
    bad = ~torch.isfinite(tensor)
    if bad.any():
        raise BadSample(f"{what} has {int(bad.sum())} values that are NaN or infinite")
    return tensor


@dataclass(frozen=True, kw_only=True)
class Image(Modality):
    """Pictures, float [N, C, H, W] in [0, 1]. A point is a pixel; neutral is a fixed colour.

    size: (height, width) that every picture must have. fill: the colour of an erased pixel, best the
    mean colour of the data, since a colour the model never saw is an attack of its own.
    """

    kind: ClassVar[str] = "image"
    axes: ClassVar[int] = 2
    point: ClassVar[str] = "pixel"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0
    size: tuple[int, int]
    channels: int = 3
    fill: tuple[float, ...] = (0.5,)

    def check(self, value: Any) -> Tensor:
        """Accepts a PIL picture, an array [H, W, C] of bytes, or a float tensor [C, H, W] in [0, 1]."""
        if hasattr(value, "convert"):  # a PIL image
            mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(self.channels)
            if value.mode != mode:
                if value.mode not in ("L", "LA", "P", "RGB", "RGBA", "1"):
                    raise BadSample(f"picture has mode {value.mode}, expected {mode}")
                value = value.convert(mode)
            value = np.asarray(value)
        if isinstance(value, np.ndarray) and value.dtype == np.uint8:
            planes = value[..., None] if value.ndim == 2 else value
            value = torch.from_numpy(planes.astype(np.float32) / 255.0).permute(2, 0, 1)
        tensor = _finite(value, "picture")
        wanted = (self.channels, *self.size)
        if tuple(tensor.shape) != wanted:
            raise BadSample(f"picture has shape {tuple(tensor.shape)}, expected {wanted} (channels, height, width)")
        if tensor.min() < -1e-6 or tensor.max() > 1 + 1e-6:
            raise BadSample(f"picture has values in [{tensor.min():.3g}, {tensor.max():.3g}], expected [0, 1]")
        return tensor.clamp(0, 1).contiguous()

    def blank(self) -> Tensor:
        return torch.zeros(self.channels, *self.size)

    def grid(self, x: Tensor) -> Tensor:
        return torch.tensor(x.shape[-2:]).expand(len(x), 2)

    def erase(self, x: Tensor, cover: Tensor) -> Tensor:
        fill = torch.tensor(self.fill, dtype=x.dtype).view(1, -1, 1, 1)
        # Exact at weights 0 and 1, and ten times faster than `where` with masks that broadcast over channels.
        return torch.lerp(x, fill, cover[:, None].to(x.dtype))


@dataclass(frozen=True, kw_only=True)
class Text(Modality):
    """Strings. A point is a word (what whitespace separates); neutral is the empty string.

    Erasing a word deletes it and closes the gap with one space: one removal, one text. lexicon: for a word,
    others that keep the meaning; the only substitutions that an attack on words may use.
    """

    kind: ClassVar[str] = "text"
    continuous: ClassVar[bool] = False
    point: ClassVar[str] = "word"
    lexicon: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def check(self, value: Any) -> str:
        if not isinstance(value, str):
            raise BadSample(f"text is {type(value).__name__}, expected a string")
        if not value.strip():
            raise BadSample("text is empty")
        return value

    def blank(self) -> str:
        return ""

    def collate(self, values: Sequence[Any]) -> list[str]:
        return list(values)

    def grid(self, x: list[str]) -> Tensor:
        return torch.tensor([[len(t.split())] for t in x], dtype=torch.long).view(-1, 1)

    def erase(self, x: list[str], cover: Tensor) -> list[str]:
        out = []
        for text, row in zip(x, cover.tolist(), strict=True):
            words = text.split()
            kept = [w for w, gone in zip(words, row, strict=False) if not gone]
            # Of what is padded beyond the text nothing can go: a text that loses no word stays as it is.
            out.append(text if len(kept) == len(words) else " ".join(kept))
        return out


@dataclass(frozen=True, kw_only=True)
class Audio(Modality):
    """Sound, float [N, T] in [-1, 1] at `rate` samples a second. A point is a frame of `frame` samples."""

    kind: ClassVar[str] = "audio"
    point: ClassVar[str] = "frame"
    low: ClassVar[float] = -1.0
    high: ClassVar[float] = 1.0
    rate: int
    length: int
    frame: int = 160

    def check(self, value: Any) -> Tensor:
        tensor = _finite(value, "sound")
        if tuple(tensor.shape) != (self.length,):
            raise BadSample(f"sound has shape {tuple(tensor.shape)}, expected ({self.length},) samples")
        if tensor.abs().max() > 1 + 1e-6:
            raise BadSample(f"sound reaches {tensor.abs().max():.3g}, expected values in [-1, 1]")
        return tensor

    def blank(self) -> Tensor:
        return torch.zeros(self.length)

    def grid(self, x: Tensor) -> Tensor:
        return torch.full((len(x), 1), -(-x.shape[1] // self.frame), dtype=torch.long)

    def erase(self, x: Tensor, cover: Tensor) -> Tensor:
        samples = cover.repeat_interleave(self.frame, dim=1)[:, : x.shape[1]]
        return torch.where(samples, torch.zeros((), dtype=x.dtype), x)


@dataclass(frozen=True, kw_only=True)
class Tabular(Modality):
    """Table rows, float [N, F]. A point is a column; neutral is `fill`, one value a column (its mean, say)."""

    kind: ClassVar[str] = "tabular"
    point: ClassVar[str] = "column"
    columns: tuple[str, ...]
    fill: tuple[float, ...] = ()

    def check(self, value: Any) -> Tensor:
        tensor = _finite(value, "table row")
        if tuple(tensor.shape) != (len(self.columns),):
            raise BadSample(f"table row has shape {tuple(tensor.shape)}, expected ({len(self.columns)},)")
        return tensor

    def blank(self) -> Tensor:
        return torch.zeros(len(self.columns))

    def grid(self, x: Tensor) -> Tensor:
        return torch.full((len(x), 1), x.shape[1], dtype=torch.long)

    def erase(self, x: Tensor, cover: Tensor) -> Tensor:
        fill = torch.tensor(self.fill or [0.0] * x.shape[1], dtype=x.dtype)
        return torch.where(cover, fill, x)


@dataclass(frozen=True, kw_only=True)
class Series(Modality):
    """Time series, float [N, T, C]. A point is a time step (all channels); neutral is `fill` a channel."""

    kind: ClassVar[str] = "series"
    point: ClassVar[str] = "step"
    length: int
    channels: tuple[str, ...]
    fill: tuple[float, ...] = ()

    def check(self, value: Any) -> Tensor:
        tensor = _finite(value, "series")
        wanted = (self.length, len(self.channels))
        if tuple(tensor.shape) != wanted:
            raise BadSample(f"series has shape {tuple(tensor.shape)}, expected {wanted} (steps, channels)")
        return tensor

    def blank(self) -> Tensor:
        return torch.zeros(self.length, len(self.channels))

    def grid(self, x: Tensor) -> Tensor:
        return torch.full((len(x), 1), x.shape[1], dtype=torch.long)

    def erase(self, x: Tensor, cover: Tensor) -> Tensor:
        fill = torch.tensor(self.fill or [0.0] * x.shape[2], dtype=x.dtype)
        return torch.where(cover[..., None], fill, x)


KINDS: dict[str, type[Modality]] = {m.kind: m for m in (Image, Text, Audio, Tabular, Series)}
