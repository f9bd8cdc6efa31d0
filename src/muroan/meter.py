"""A model that counts what it is asked, works in chunks of bounded size, and takes the cheapest way there is.

`Codes` is what a model needs of one modality in order to decide: encoded where the model can be taken apart,
the values themselves where it cannot. A method that recombines, removes or swaps modalities is written once,
against `encode` and `logits`, and never encodes a value twice on a model that spares it from doing so.

What the model has answered is remembered by the content of what it was asked (`muroan.memo`), so that no method asks
what another one asked before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.content import keys_of, keys_with, keys_without
from muroan.errors import BadSample, CannotComplete, NotApplicable
from muroan.memo import Memo, once
from muroan.modality import Modality, Value, concatenate, take
from muroan.model import Capability, Code, Embedded, Model, rows
from muroan.randomness import Words

ENCODE_CHUNK = 512
"""Values encoded at once: large enough to fill two cores, small enough for tens of MB of activations."""
FUSE_CHUNK = 16384
"""Combinations fused at once; codes are small."""
REMEMBERED = "remembered "
"""Stands before the name of what was not asked again."""
_NONE = torch.zeros(0, dtype=torch.long)


@dataclass
class Meter:
    """Rows that passed through each part of the model, and the seconds that took.

    Keys: "encode <modality>", "fuse" (fusion and decision), "predict" (whole model), "backward"; and "remembered fuse"
    and the like: rows whose answer was known, so that they passed through nothing.
    """

    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, what: str, n: int) -> None:
        self.counts[what] = self.counts.get(what, 0) + n

    @property
    def passes(self) -> int:
        """Rows that a decision was asked for, with or without a graph, and rows of backward passes.

        What an attack costs, over its samples: also where the answer was remembered here, for whoever attacks the model
        has not been told it. Encodings that lead to no decision are not among them.
        """
        decided = ("fuse", "predict")
        asked = (*decided, *(REMEMBERED + what for what in decided), "forward for gradients", "backward")
        return sum(self.counts.get(k, 0) for k in asked)

    def merge(self, other: Meter) -> None:
        for what, n in other.counts.items():
            self.add(what, n)
        self.seconds += other.seconds

    @contextmanager
    def timed(self, what: str, n: int) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start
            self.add(what, n)


@dataclass(frozen=True)
class Codes:
    """N codes (or, for a model that cannot be taken apart, values) of one modality.

    keys [N, 2]: of what was encoded (`muroan.content`); None where nothing that is asked with them is remembered.
    """

    modality: str
    data: Code | Value
    n: int
    encoded: bool
    keys: Words | None = None

    def take(self, index: Tensor) -> Codes:
        data = rows(self.data, index) if self.encoded else take(self.data, index)
        keys = None if self.keys is None else self.keys[index.numpy()]
        return Codes(self.modality, data, len(index), self.encoded, keys)

    def keys_without(self, index: Tensor, boxes: Tensor) -> Words | None:
        """Keys [R, 2] of the values behind the codes at `index` [R] without what their boxes hold, told unread.

        For a text that is not worth it: what is left of it says soonest itself what it is.
        """
        return None if self.keys is None else keys_without(self.keys[index.numpy()], boxes)

    @staticmethod
    def concat(parts: list[Codes]) -> Codes:
        head = parts[0]
        data = _cat([p.data for p in parts]) if head.encoded else concatenate([p.data for p in parts])
        keys = [p.keys for p in parts if p.keys is not None]
        known = np.concatenate(keys) if len(keys) == len(parts) else None
        return Codes(head.modality, data, sum(p.n for p in parts), head.encoded, known)


def _rows(code: Code) -> int:
    """How many rows a code has."""
    return len(code) if isinstance(code, Tensor) else _rows(code[0])


def _cat(codes: list[Code]) -> Code:
    if isinstance(codes[0], Tensor):
        return torch.cat(codes)
    return tuple(_cat(list(c)) for c in zip(*codes, strict=True))


def _columns(code: Code) -> list[Tensor]:
    """The tensors of a code, one after another."""
    return [code] if isinstance(code, Tensor) else [c for part in code for c in _columns(part)]


def _code(columns: Iterator[Tensor], like: Code) -> Code:
    """The other way round: a code put together as another one is."""
    return next(columns) if isinstance(like, Tensor) else tuple(_code(columns, part) for part in like)


class Metered:
    """A model under audit: every pass through it goes through here and is counted.

    apart: whether to use `encode` and `fuse` where the model has them. False forces whole-model calls and
    gives the same results more slowly; benchmarks and contract tests compare the two. remember: whether answers are
    kept, so that an equal question is not asked again; False where none comes twice, as in training.

    What is remembered belongs to this object: whoever changes the model's weights makes another one.
    """

    def __init__(
        self, model: Model, modalities: Mapping[str, Modality], *, apart: bool = True, remember: bool = True
    ) -> None:
        self.model = model
        self.modalities = {m: modalities[m] for m in model.modalities}
        self.classes = model.classes
        self.apart = apart and Capability.FUSE in model.capabilities
        self.remember = remember
        self.meter = Meter()
        self.forget()

    def forget(self) -> None:
        """Remember nothing that was answered so far."""
        self.answers = Memo()
        self.forget_codes()

    def forget_codes(self, *but: Codes) -> None:
        """Remember no code but these."""
        self._codes: dict[str, Memo] = {m: Memo() for m in self.modalities}
        self._like: dict[str, Code] = {}
        for known in but:
            if known.encoded and known.keys is not None:
                first, _ = once(known.keys)
                self._like[known.modality] = rows(known.data, _NONE)
                columns = [c[torch.from_numpy(first)] for c in _columns(known.data)]
                self._codes[known.modality].add(known.keys[first], columns)

    def require(self, *capabilities: Capability) -> None:
        """Raises `NotApplicable` naming the capabilities that the model lacks."""
        missing = [c.value for c in capabilities if c not in self.model.capabilities]
        if missing:
            raise NotApplicable(f"needs {', '.join(missing)}, which {self.model.name} does not have")

    def _check(self, logits: Tensor, n: int) -> Tensor:
        if not isinstance(logits, Tensor) or tuple(logits.shape) != (n, len(self.classes)):
            shape = tuple(getattr(logits, "shape", ())) or type(logits).__name__
            raise CannotComplete(
                f"{self.model.name} returned scores of shape {shape} for {n} samples and "
                f"{len(self.classes)} classes, expected ({n}, {len(self.classes)})"
            )
        if not bool(torch.isfinite(logits).all()):
            raise BadSample(f"{self.model.name} returned NaN or infinite scores")
        return logits

    def _asked(
        self, what: str, n: int, chunk: int, ask: Callable[[Tensor], list[Tensor]], keys: Words | None, memo: Memo
    ) -> list[Tensor]:
        """What `ask` gives of n rows, as tensors [n, ...]: in chunks, counted, and of no row whose key is known."""

        def in_chunks(index: Tensor, keep: bool) -> list[Tensor]:
            parts = []
            for i in range(0, max(len(index), 1), chunk):
                at = index[i : i + chunk]
                with self.meter.timed(what, len(at)):
                    columns = ask(at)
                parts.append(columns)
                if keep and keys is not None:
                    memo.add(keys[at.numpy()], columns)
            return parts[0] if len(parts) == 1 else [torch.cat(columns) for columns in zip(*parts, strict=True)]

        everything = torch.arange(n)
        if keys is None or not n:
            return in_chunks(everything, False)
        found = memo.answered(keys, lambda rows: in_chunks(torch.from_numpy(rows), True))
        if found is None:
            return in_chunks(everything, False)
        columns, new = found
        if new < n:
            self.meter.add(REMEMBERED + what, n - new)
        return columns

    @torch.no_grad()
    def encode(self, modality: str, values: Value, *, keys: Words | None = None, anew: bool = False) -> Codes:
        """Codes of N values; the values themselves if the model cannot be taken apart.

        keys [N, 2]: of the values, where they are known without reading them (`keys_with`, `keys_without`). anew: the
        model is asked in any case, and nothing that is asked with these codes is remembered: for a question whose point
        is that it is put again, and for values that never come twice, such as random ones, whose keys cost more time
        than a small encoder takes.
        """
        n = len(values)
        if anew or not self.remember:
            keys = None
        elif keys is None:
            keys = keys_of(values)
        if not self.apart:
            return Codes(modality, values, n, encoded=False, keys=keys)

        def ask(at: Tensor) -> list[Tensor]:
            code = self.model.encode(modality, values if len(at) == n else take(values, at))
            if _rows(code) != len(at):
                raise CannotComplete(
                    f"{self.model.name} gave {_rows(code)} codes for {len(at)} values of {modality}; "
                    "an encoder returns one row a value"
                )
            self._like[modality] = rows(code, _NONE)
            return _columns(code)

        columns = self._asked(f"encode {modality}", n, ENCODE_CHUNK, ask, keys, self._codes[modality])
        return Codes(modality, _code(iter(columns), self._like[modality]), n, encoded=True, keys=keys)

    @torch.no_grad()
    def fused(
        self,
        codes: Mapping[str, Codes],
        index: Mapping[str, Tensor],
        present: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Fused codes [R, D] of combinations; needs `Capability.FUSE`. present[m] bool [R], as in `logits`."""
        self.require(Capability.FUSE)
        n = len(next(iter(index.values())))
        parts = [slice(i, i + FUSE_CHUNK) for i in range(0, max(n, 1), FUSE_CHUNK)]
        with self.meter.timed("fuse", n):
            return torch.cat(
                [
                    self._fuse(
                        {m: rows(codes[m].data, index[m][part]) for m in codes},
                        {m: p[part] for m, p in present.items()} if present else None,
                    )
                    for part in parts
                ]
            )

    def _fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        if Capability.ABSENT in self.model.capabilities:
            return self.model.fuse(codes, present)
        return self.model.fuse(codes)

    @torch.no_grad()
    def logits(
        self,
        codes: Mapping[str, Codes],
        index: Mapping[str, Tensor] | None = None,
        present: Mapping[str, Tensor] | None = None,
        *,
        anew: bool = False,
    ) -> Tensor:
        """Logits [R, K] of combinations: row r fuses codes[m][index[m][r]] of every modality m.

        Without `index`, row r fuses the r-th code of every modality. present[m] bool [R]. anew: the model is asked in
        any case, as it is with codes that were made anew.
        """
        n = len(next(iter(index.values()))) if index is not None else next(iter(codes.values())).n
        here = present if present and Capability.ABSENT in self.model.capabilities else None

        def ask(at: Tensor) -> list[Tensor]:
            of = {m: at if index is None else index[m][at] for m in codes}
            there = {m: p[at] for m, p in here.items()} if here else None
            if self.apart:
                fused = self._fuse({m: rows(codes[m].data, of[m]) for m in codes}, there)
                return [self._check(self.model.decide(fused), len(at))]
            inputs = {m: take(codes[m].data, of[m]) for m in codes}
            return [self._check(self.model.predict(inputs, there), len(at))]

        what, chunk = ("fuse", FUSE_CHUNK) if self.apart else ("predict", ENCODE_CHUNK)
        (logits,) = self._asked(what, n, chunk, ask, None if anew else _keys(codes, index, here), self.answers)
        return logits

    def of(self, batch: Batch, *, anew: bool = False) -> Tensor:
        """Logits [N, K] of a batch; values that `batch.keys` calls equal are encoded once. anew: as in `encode`."""
        codes, index = self.codes(batch, anew=anew)
        return self.logits(codes, index, batch.present or None)

    def codes(self, batch: Batch, *, anew: bool = False) -> tuple[dict[str, Codes], dict[str, Tensor]]:
        """Codes of a batch's distinct values, and for each sample which one is its own."""
        codes, index = {}, {}
        for m in self.modalities:
            values, index[m] = batch.unique(m)
            codes[m] = self.encode(m, values, keys=batch.unique_contents(m), anew=anew)
        return codes, index

    def differentiable(
        self, inputs: Mapping[str, Value | Embedded | Codes], present: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Logits with a graph back to the tensors among `inputs`; needs gradients. present[m] bool [N], as in `logits`.

        A text may be given as `Embedded` (needs embeddings); a modality that is not attacked as its `Codes`, so that
        it is not encoded at every step. Not chunked: the caller keeps N small.
        """
        self.require(Capability.GRADIENTS)
        n = max(
            v.n if isinstance(v, Codes) else len(v.vectors if isinstance(v, Embedded) else v) for v in inputs.values()
        )
        here = present if present and Capability.ABSENT in self.model.capabilities else None
        with self.meter.timed("forward for gradients", n):
            if not self.apart and not any(isinstance(v, Embedded) for v in inputs.values()):
                plain = {m: v.data if isinstance(v, Codes) else v for m, v in inputs.items()}
                return self._check(self.model.predict(plain, here), n)
            codes = {m: self._differentiable_code(m, v) for m, v in inputs.items()}
            return self._check(self.model.decide(self._fuse(codes, here)), n)

    def fused_differentiable(
        self, inputs: Mapping[str, Value | Embedded | Codes], present: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """What `differentiable` gives, with the fused codes [N, D] before the logits; needs `Capability.FUSE` too."""
        self.require(Capability.GRADIENTS, Capability.FUSE)
        n = max(
            v.n if isinstance(v, Codes) else len(v.vectors if isinstance(v, Embedded) else v) for v in inputs.values()
        )
        here = present if present and Capability.ABSENT in self.model.capabilities else None
        with self.meter.timed("forward for gradients", n):
            fused = self._fuse({m: self._differentiable_code(m, v) for m, v in inputs.items()}, here)
            return fused, self._check(self.model.decide(fused), n)

    def encode_differentiable(self, modality: str, values: Value | Embedded) -> Code:
        """Codes of N values with a graph back to them; needs gradients and a model that can be taken apart.

        Counted as "encode <modality> for gradients". Not chunked: the caller keeps N small.
        """
        self.require(Capability.GRADIENTS, Capability.FUSE)
        n = len(values.vectors if isinstance(values, Embedded) else values)
        with self.meter.timed(f"encode {modality} for gradients", n):
            return self._differentiable_code(modality, values)

    def _differentiable_code(self, modality: str, value: Value | Embedded | Codes) -> Code:
        if isinstance(value, Codes):
            return value.data if value.encoded else self.model.encode(modality, value.data)
        if isinstance(value, Embedded):
            self.require(Capability.EMBEDDINGS)
            return self.model.encode_embedded(modality, value)
        return self.model.encode(modality, value)

    def backward(self, loss: Tensor, wanted: list[Tensor], n: int) -> list[Tensor]:
        """Gradients of a scalar loss with respect to `wanted`, counted as one backward pass over n rows."""
        with self.meter.timed("backward", n):
            return list(torch.autograd.grad(loss, wanted))


def _keys(
    codes: Mapping[str, Codes], index: Mapping[str, Tensor] | None, present: Mapping[str, Tensor] | None
) -> Words | None:
    """A key for each combination [R, 2]: of what every modality holds there, and which of them are said to be missing.

    None where one of the codes has none.
    """
    total: Any = None
    for m, of in codes.items():
        if of.keys is None:
            return None
        words = keys_with(of.keys, "modality", m)
        words = words if index is None else words[index[m].numpy()]
        if present and m in present:
            words = np.where(present[m].numpy()[:, None], words, keys_with(words, "missing"))
        total = words if total is None else total + words
    keys: Words = total
    return keys
