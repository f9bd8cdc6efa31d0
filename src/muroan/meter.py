"""A model that counts what it is asked, works in chunks of bounded size, and takes the cheapest way there is.

`Codes` is what a model needs of one modality in order to decide: encoded where the model can be taken apart,
the values themselves where it cannot. A method that recombines, removes or swaps modalities is written once,
against `encode` and `logits`, and never encodes a value twice on a model that spares it from doing so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.errors import BadSample, CannotComplete, NotApplicable
from muroan.modality import Modality, Value, concatenate, take
from muroan.model import Capability, Code, Embedded, Model, rows

ENCODE_CHUNK = 512
"""Values encoded at once: large enough to fill two cores, small enough for tens of MB of activations."""
FUSE_CHUNK = 16384
"""Combinations fused at once; codes are small."""


@dataclass
class Meter:
    """Rows that passed through each part of the model, and the seconds that took.

    Keys: "encode <modality>", "fuse" (fusion and decision), "predict" (whole model), "backward".
    """

    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, what: str, n: int) -> None:
        self.counts[what] = self.counts.get(what, 0) + n

    @property
    def passes(self) -> int:
        """Rows that a decision was made about, with or without a graph, and rows of backward passes.

        What an attack costs, over its samples. Encodings that lead to no decision are not among them.
        """
        return sum(self.counts.get(k, 0) for k in ("fuse", "predict", "forward for gradients", "backward"))

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
    """N codes (or, for a model that cannot be taken apart, values) of one modality."""

    modality: str
    data: Code | Value
    n: int
    encoded: bool

    def take(self, index: Tensor) -> Codes:
        data = rows(self.data, index) if self.encoded else take(self.data, index)
        return Codes(self.modality, data, len(index), self.encoded)

    @staticmethod
    def concat(parts: list[Codes]) -> Codes:
        head = parts[0]
        data = _cat([p.data for p in parts]) if head.encoded else concatenate([p.data for p in parts])
        return Codes(head.modality, data, sum(p.n for p in parts), head.encoded)


def _rows(code: Code) -> int:
    """How many rows a code has."""
    return len(code) if isinstance(code, Tensor) else _rows(code[0])


def _cat(codes: list[Code]) -> Code:
    if isinstance(codes[0], Tensor):
        return torch.cat(codes)
    return tuple(_cat(list(c)) for c in zip(*codes, strict=True))


class Metered:
    """A model under audit: every pass through it goes through here and is counted.

    apart: whether to use `encode` and `fuse` where the model has them. False forces whole-model calls and
    gives the same results more slowly; benchmarks and contract tests compare the two.
    """

    def __init__(self, model: Model, modalities: Mapping[str, Modality], *, apart: bool = True) -> None:
        self.model = model
        self.modalities = {m: modalities[m] for m in model.modalities}
        self.classes = model.classes
        self.apart = apart and Capability.FUSE in model.capabilities
        self.meter = Meter()

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

    @torch.no_grad()
    def encode(self, modality: str, values: Value) -> Codes:
        """Codes of N values; the values themselves if the model cannot be taken apart."""
        n = len(values)
        if not self.apart:
            return Codes(modality, values, n, encoded=False)
        with self.meter.timed(f"encode {modality}", n):
            parts = [
                self.model.encode(modality, take(values, range(i, min(i + ENCODE_CHUNK, n))))
                if n > ENCODE_CHUNK
                else self.model.encode(modality, values)
                for i in range(0, max(n, 1), ENCODE_CHUNK)
            ]
        code = _cat(parts) if len(parts) > 1 else parts[0]
        if _rows(code) != n:
            raise CannotComplete(
                f"{self.model.name} gave {_rows(code)} codes for {n} values of {modality}; "
                "an encoder returns one row a value"
            )
        return Codes(modality, code, n, encoded=True)

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
    ) -> Tensor:
        """Logits [R, K] of combinations: row r fuses codes[m][index[m][r]] of every modality m.

        Without `index`, row r fuses the r-th code of every modality. present[m] bool [R].
        """
        n = len(next(iter(index.values()))) if index is not None else next(iter(codes.values())).n
        chunk = FUSE_CHUNK if self.apart else ENCODE_CHUNK
        absent = Capability.ABSENT in self.model.capabilities and present
        out = []
        with self.meter.timed("fuse" if self.apart else "predict", n):
            for i in range(0, max(n, 1), chunk):
                end = min(i + chunk, n)
                at = {m: torch.arange(i, end) for m in codes} if index is None else {m: index[m][i:end] for m in codes}
                here = {m: p[i:end] for m, p in present.items()} if absent and present else None
                if self.apart:
                    fused = self._fuse({m: rows(codes[m].data, at[m]) for m in codes}, here)
                    out.append(self._check(self.model.decide(fused), end - i))
                else:
                    inputs = {m: take(codes[m].data, at[m]) for m in codes}
                    out.append(self._check(self.model.predict(inputs, here), end - i))
        return torch.cat(out)

    def of(self, batch: Batch) -> Tensor:
        """Logits [N, K] of a batch; values that `batch.keys` calls equal are encoded once."""
        codes, index = self.codes(batch)
        return self.logits(codes, index, batch.present or None)

    def codes(self, batch: Batch) -> tuple[dict[str, Codes], dict[str, Tensor]]:
        """Codes of a batch's distinct values, and for each sample which one is its own."""
        codes, index = {}, {}
        for m in self.modalities:
            values, index[m] = batch.unique(m)
            codes[m] = self.encode(m, values)
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
