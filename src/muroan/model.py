"""The unified view of a multimodal model: encode each modality, fuse the codes, decide.

Source: MUROAN (arXiv 2112.12792) sees every deep multimodal model as z = F(x_1..x_n), p = G(z); Muroan splits F
into one encoder per modality and a fusion, because what only recombines or removes modalities then never
encodes anything twice. A model that cannot be taken apart implements `predict` alone. What a model can do it
declares; a method asks for what it needs and says "not applicable" where that is missing.
"""

from __future__ import annotations

import hashlib
from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from muroan.errors import AskedWrongly, NotApplicable
from muroan.modality import Value

Code = Any  # a Tensor [N, ...] or a tuple of them; `rows` takes rows of either


class Capability(StrEnum):
    """What a model can do beyond giving a label."""

    SCORES = "scores"
    """`predict` returns log-probabilities or logits, not one-hot labels."""
    FUSE = "fuse"
    """`encode`, `fuse` and `decide` work, and together give what `predict` gives."""
    GRADIENTS = "gradients"
    """Scores are differentiable with respect to continuous inputs."""
    EMBEDDINGS = "embeddings"
    """`embed` and `encode_embedded` work for text, so that gradients reach words."""
    ABSENT = "absent"
    """`fuse` takes `present` and handles a missing modality itself; otherwise its neutral value is used."""
    ALIGNED = "aligned"
    """Codes of all modalities are vectors [N, D] of one space, in which the cosine of two says how well they match."""
    TRAIN = "train"
    """`trainable` gives the modules whose parameters decide the scores, so that defences can train them."""
    SHADOWS = "shadows"
    """`shadows` gives models of the same recipe, trained on known halves of the data."""

    @property
    def says(self) -> str:
        """The name with what it means, for whoever reads that a model lacks it."""
        return f"{self.value} ({_SAYS[self.value]})"


_SAYS = {
    "scores": "a score for every class",
    "fuse": "encoders and a fusion that can be called apart",
    "gradients": "scores that can be differentiated by the inputs",
    "embeddings": "words as vectors that can be differentiated by",
    "absent": "its own handling of a missing input",
    "aligned": "codes of all inputs in one space, as of CLIP",
    "train": "weights that can be trained",
    "shadows": "models of the same recipe",
}


@dataclass(frozen=True)
class Embedded:
    """Texts as the model's token embeddings: vectors [N, T, D], mask [N, T] true at real tokens.

    words [N, T]: the index of the whitespace word that a token belongs to, −1 where it belongs to none.
    """

    vectors: Tensor
    mask: Tensor
    words: Tensor


@dataclass(frozen=True)
class Shadow:
    """A model of the audited model's recipe and the ids of the samples that it was trained on."""

    model: Model
    trained_on: Callable[[Sequence[str]], np.ndarray]


class Model(ABC):
    """What Muroan audits. Subclass it, or use `TorchModel` or `BlackBox`.

    modalities: names of the inputs, equal to the data set's; classes: labels in the order of the scores.
    All tensors are on the CPU at this border; an adapter moves them to its device and back.
    """

    name: str = "model"
    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    capabilities: frozenset[Capability] = frozenset()

    def encode(self, modality: str, values: Value) -> Code:
        """Codes of N values of one modality. Rows are independent of each other."""
        raise NotApplicable(f"{self.name} cannot encode a single modality")

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        """Fused codes [N, D]. `present` is only given to a model with `Capability.ABSENT`."""
        raise NotApplicable(f"{self.name} has no separate fusion")

    def decide(self, fused: Tensor) -> Tensor:
        """Logits [N, K] of fused codes."""
        raise NotApplicable(f"{self.name} has no separate decision")

    def predict(self, inputs: Mapping[str, Value], present: Mapping[str, Tensor] | None = None) -> Tensor:
        """Logits [N, K] (log-probabilities up to a constant per row; one-hot without `Capability.SCORES`)."""
        codes = {m: self.encode(m, inputs[m]) for m in self.modalities}
        if Capability.ABSENT in self.capabilities:
            return self.decide(self.fuse(codes, present))
        return self.decide(self.fuse(codes))

    def embed(self, modality: str, values: Sequence[str]) -> Embedded:
        """Token embeddings of texts, differentiable onwards (`Capability.EMBEDDINGS`)."""
        raise NotApplicable(f"{self.name} does not show token embeddings")

    def encode_embedded(self, modality: str, embedded: Embedded) -> Code:
        """The code that `encode` would give for these token embeddings (`Capability.EMBEDDINGS`)."""
        raise NotApplicable(f"{self.name} does not take token embeddings")

    def trainable(self) -> nn.ModuleDict:
        """The modules that decide the scores, by name (`Capability.TRAIN`): the model's own, not copies.

        Their state is the model's: loaded into an equal model's modules it gives the same scores.
        """
        raise NotApplicable(f"{self.name} shows no modules to train")

    def shadows(self) -> Sequence[Shadow]:
        """Models of the same recipe trained on known subsets (`Capability.SHADOWS`)."""
        raise NotApplicable(f"{self.name} has no shadow models")

    def fingerprint(self) -> str:
        """A text that changes when the model does: part of what makes a run directory resumable."""
        return f"{type(self).__module__}.{type(self).__qualname__}:{self.name}"


def rows(code: Code, index: Tensor) -> Code:
    """Rows of a code, whichever shape it has."""
    if isinstance(code, Tensor):
        return code.index_select(0, index)
    return tuple(rows(c, index) for c in code)


def weights_fingerprint(module: nn.Module) -> str:
    """A digest of a module's parameters and buffers."""
    return tensors_fingerprint(module.state_dict())


def tensors_fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """A digest of named tensors."""
    digest = hashlib.blake2b(digest_size=12)
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    # Flat first: a tensor without axes (the batch counter of every batch norm) cannot be viewed as bytes.
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _digest(raw: bytes) -> str:
    return hashlib.blake2b(raw, digest_size=12).hexdigest()


def held(part: Any, seen: set[int] | None = None) -> Iterator[nn.Module | Tensor]:
    """The modules and tensors that a callable holds: it is one, or a method, partial or function over some.

    Of a function that is what it closes over, its defaults and the globals that it names, so that
    `lambda texts: net.text(tokenizer(texts))` is known by the weights of `net`.
    """
    seen = set() if seen is None else seen
    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, nn.Module | Tensor):
        yield part
        return
    inside: list[Any] = []
    if isinstance(part, partial):
        inside = [part.func, *part.args, *part.keywords.values()]
    elif isinstance(part, MethodType):
        inside = [part.__func__, part.__self__]
    elif isinstance(part, FunctionType):
        named = [part.__globals__.get(name) for name in _names(part.__code__)]
        cells = (cell.cell_contents for cell in part.__closure__ or () if _filled(cell))
        inside = [*cells, *(part.__defaults__ or ()), *(part.__kwdefaults__ or {}).values(), *named]
    elif isinstance(part, list | tuple):
        inside = list(part)
    elif isinstance(part, dict):
        inside = list(part.values())
    for item in inside:
        yield from held(item, seen)


def _names(code: CodeType) -> list[str]:
    """Globals and attributes that a function names, in the comprehensions and lambdas inside it too."""
    inner = [n for c in code.co_consts if isinstance(c, CodeType) for n in _names(c)]
    return [*code.co_names, *inner]


def _filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:  # a name that is not bound yet
        return False
    return True


class TorchModel(Model):
    """A torch model given as one encoder per modality, a fusion and a head.

    encoders[m]: callable, values of N samples -> code [N, ...]; an encoder of text takes a list of strings.
    fusion: callable, dict of codes -> [N, D]; head: callable, [N, D] -> logits [N, K].

        model = muroan.TorchModel(
            encoders={"image": net.vision, "question": lambda texts: net.text(tokenizer(texts))},
            fusion=lambda codes: torch.cat([codes["image"], codes["question"]], dim=1),
            head=net.head,
            classes=["no", "yes"],
        )

    Modules among them are put into evaluation mode once and for all. device: where they run.
    """

    def __init__(
        self,
        *,
        encoders: Mapping[str, Callable[[Any], Code]],
        fusion: Callable[[Mapping[str, Code]], Tensor],
        head: Callable[[Tensor], Tensor],
        classes: Sequence[str],
        name: str = "torch model",
        device: str | torch.device = "cpu",
        gradients: bool = True,
    ) -> None:
        self.name = name
        self.modalities = tuple(encoders)
        self.classes = tuple(classes)
        self.device = torch.device(device)
        self._parts: dict[str, Any] = {**{f"encoder {m}": e for m, e in encoders.items()}}
        self._parts |= {"fusion": fusion, "head": head}
        self.capabilities = frozenset(
            {Capability.SCORES, Capability.FUSE}
            | ({Capability.GRADIENTS} if gradients else set())
            | ({Capability.TRAIN} if len(self.trainable()) else set())
        )
        for part in self._parts.values():
            if isinstance(part, nn.Module):
                part.eval().to(self.device)

    def _there(self, value: Value) -> Value:
        return value.to(self.device) if isinstance(value, Tensor) else value

    def encode(self, modality: str, values: Value) -> Code:
        return _here(self._parts[f"encoder {modality}"](self._there(values)))

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        fused: Tensor = _here(self._parts["fusion"]({m: _move(c, self.device) for m, c in codes.items()}))
        return fused

    def decide(self, fused: Tensor) -> Tensor:
        logits: Tensor = _here(self._parts["head"](fused.to(self.device)))
        return logits

    def trainable(self) -> nn.ModuleDict:
        """The modules that the encoders, the fusion and the head hold, each once."""
        found: dict[str, nn.Module] = {}
        for name, part in self._parts.items():
            modules = [h for h in held(part) if isinstance(h, nn.Module) and not any(h is f for f in found.values())]
            for k, module in enumerate(modules):
                found[name.replace(".", " ") + (f" {k}" if k else "")] = module
        return nn.ModuleDict(found)

    def fingerprint(self) -> str:
        prints = []
        for name, part in self._parts.items():
            found = [weights_fingerprint(h) if isinstance(h, nn.Module) else _digest(_bytes(h)) for h in held(part)]
            prints += [f"{name}={'+'.join(found)}"] if found else []
        return f"{self.name}:" + ",".join(prints)


def _move(code: Code, device: torch.device) -> Code:
    return code.to(device) if isinstance(code, Tensor) else tuple(_move(c, device) for c in code)


def _here(code: Code) -> Code:
    return _move(code, torch.device("cpu"))


class BlackBox(Model):
    """Any function from inputs to scores: an endpoint, a pipeline, another framework.

    predict: dict of values of N samples (tensors, lists of strings) -> array [N, K].
    output: what the array holds: "probabilities", "logits", or "labels" (then [N] of class indices).
    """

    def __init__(
        self,
        predict: Callable[[Mapping[str, Value]], Any],
        *,
        modalities: Sequence[str],
        classes: Sequence[str],
        output: str = "probabilities",
        name: str = "black box",
    ) -> None:
        if output not in ("probabilities", "logits", "labels"):
            raise AskedWrongly(f"output is {output!r}; it must be 'probabilities', 'logits' or 'labels'")
        self.name = name
        self.modalities = tuple(modalities)
        self.classes = tuple(classes)
        self.capabilities = frozenset() if output == "labels" else frozenset({Capability.SCORES})
        self._predict, self._output = predict, output

    def predict(self, inputs: Mapping[str, Value], present: Mapping[str, Tensor] | None = None) -> Tensor:
        out = torch.as_tensor(np.asarray(self._predict({m: inputs[m] for m in self.modalities})))
        if self._output == "labels":
            return nn.functional.one_hot(out.long(), len(self.classes)).float()
        scores = out.float()
        return scores.log().clamp_min(-100.0) if self._output == "probabilities" else scores

    def fingerprint(self) -> str:
        return f"black box:{self.name}"
