"""Two encoders into one space (CLIP, SigLIP, CLAP and their kind), and the tasks that make a decision of a similarity.

A pair of encoders decides nothing by itself. `ZeroShot` asks which class's prompt lies nearest to an input; `Retrieval`
asks whether an input finds its own partner among a gallery of distractors, one way or both. Each is a `Model`, so that
every probe, attack and defence works on it: recall at rank 1 is the accuracy of `Retrieval`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.data.pairs import FOUND
from muroan.errors import AskedWrongly
from muroan.modality import Value
from muroan.model import Capability, Code, Embedded, Model, held, tensors_fingerprint

ROWS = 512
"""Gallery values that are encoded at once."""

Way = Literal["both", "first", "second"]
Texts = Mapping[str, Sequence[str]]


class TwoEncoder:
    """Encoders of two modalities into one space.

    encoders[m]: callable, values of N samples -> vectors [N, D] (of any length: cosines are taken); text encoders take
    a list of strings. scale: what cosines are multiplied by to give logits (CLIP's exponentiated temperature).
    text: the name of the text modality, if one is; embed and encode_embedded: its token embeddings, and the vectors
    that these give, where gradients are to reach words. device: where modules among the parts run.

        towers = TwoEncoder(encoders={"image": net.image, "text": net.text}, scale=net.log_scale.exp().item())
        towers.zero_shot(classes=("cat", "dog"), prompts=["a picture of a {}"])
        towers.retrieval({"image": distractors, "text": other_captions})
    """

    def __init__(
        self,
        *,
        encoders: Mapping[str, Callable[[Any], Tensor]],
        scale: float = 1.0,
        text: str | None = None,
        embed: Callable[[Sequence[str]], Embedded] | None = None,
        encode_embedded: Callable[[Embedded], Tensor] | None = None,
        name: str = "two encoders",
        device: str | torch.device = "cpu",
    ) -> None:
        if not 1 <= len(encoders) <= 2:
            raise AskedWrongly(f"two encoders are encoders of one or two modalities, got {len(encoders)}")
        self.name, self.modalities, self.scale, self.text = name, tuple(encoders), float(scale), text
        self.device = torch.device(device)
        self._encoders, self._embed, self._encode_embedded = dict(encoders), embed, encode_embedded
        for part in self.parts().values():
            part.eval().to(self.device)

    @property
    def shows_words(self) -> bool:
        """Whether gradients reach words."""
        return self._embed is not None and self._encode_embedded is not None

    def holds(self, modality: str) -> list[nn.Module | Tensor]:
        """The modules and tensors that a modality's encoder holds."""
        extra = [self._embed, self._encode_embedded] if modality == self.text else []
        return list(held([self._encoders[modality], *extra]))

    def parts(self) -> dict[str, nn.Module]:
        """The modules that the encoders hold, by modality, each once."""
        found: dict[str, nn.Module] = {}
        for m in self.modalities:
            for module in (h for h in self.holds(m) if isinstance(h, nn.Module)):
                if not any(module is f for f in found.values()):
                    found[m if m not in found else f"{m} {len(found)}"] = module
        return found

    def encode(self, modality: str, values: Value) -> Tensor:
        """Vectors [N, D] of length 1, on the CPU."""
        return functional.normalize(self.vectors(modality, values), dim=1)

    def vectors(self, modality: str, values: Value) -> Tensor:
        """The same before they are made of length 1, as the encoder gives them."""
        there = values.to(self.device) if isinstance(values, Tensor) else values
        return self._encoders[modality](there).cpu()

    def embed(self, values: Sequence[str]) -> Embedded:
        """Token embeddings of texts, on the CPU."""
        assert self._embed is not None
        return _moved(self._embed(values), torch.device("cpu"))

    def encode_embedded(self, embedded: Embedded) -> Tensor:
        """Vectors [N, D] of length 1 of embedded texts."""
        assert self._encode_embedded is not None
        return functional.normalize(self._encode_embedded(_moved(embedded, self.device)), dim=1).cpu()

    @torch.no_grad()
    def encode_all(self, modality: str, values: Value) -> Tensor:
        """The same without a graph, in chunks."""
        return torch.cat([self.encode(modality, values[k : k + ROWS]) for k in range(0, len(values), ROWS)])

    def zero_shot(
        self, classes: Sequence[str], prompts: Sequence[str] = ("{}",), texts: Texts | None = None
    ) -> ZeroShot:
        """Classification by prompts; `{}` stands for the class's name, or for each of its `texts`."""
        return ZeroShot(self, classes, prompts, texts)

    def retrieval(self, gallery: Mapping[str, Value], way: Way = "both") -> Retrieval:
        """Does an input find its partner among these distractors? gallery[m]: values of modality m."""
        return Retrieval(self, gallery, way)

    def fingerprint(self) -> str:
        prints = []
        for m in self.modalities:
            own = (h.state_dict() if isinstance(h, nn.Module) else {"": h} for h in self.holds(m))
            prints.append(f"{m}={'+'.join(map(tensors_fingerprint, own))}")
        return ",".join([*prints, f"scale={self.scale!r}"])


def _moved(embedded: Embedded, device: torch.device) -> Embedded:
    return Embedded(*(t.to(device) for t in (embedded.vectors, embedded.mask, embedded.words)))


class _Matched(Model):
    """What both tasks share: codes are unit vectors of one space."""

    def __init__(self, towers: TwoEncoder) -> None:
        self.towers = towers
        shown = {Capability.SCORES, Capability.FUSE, Capability.GRADIENTS, Capability.ALIGNED}
        shown |= {Capability.TRAIN} if towers.parts() else set()
        shown |= {Capability.EMBEDDINGS} if towers.shows_words and towers.text in self.modalities else set()
        self.capabilities = frozenset(shown)
        self._fixed: tuple[tuple[tuple[int, int], ...], dict[str, Tensor]] | None = None

    def encode(self, modality: str, values: Value) -> Code:
        return self.towers.encode(modality, values)

    def vectors(self, modality: str, values: Value) -> Tensor:
        """Codes [N, D] before they are made of length 1: what a defence holds an encoder to."""
        return self.towers.vectors(modality, values)

    @property
    def scale(self) -> float:
        """What cosines are multiplied by to give logits."""
        return self.towers.scale

    def embed(self, modality: str, values: Sequence[str]) -> Embedded:
        return self.towers.embed(values) if self.towers.shows_words else super().embed(modality, values)

    def encode_embedded(self, modality: str, embedded: Embedded) -> Code:
        return self.towers.encode_embedded(embedded)

    def trainable(self) -> nn.ModuleDict:
        parts = self.towers.parts()
        return nn.ModuleDict(parts) if parts else super().trainable()

    def _codes(self) -> dict[str, Tensor]:
        raise NotImplementedError

    def _compared(self) -> tuple[str, ...]:
        """The modalities whose encoders give `_codes`."""
        raise NotImplementedError

    def fixed(self) -> dict[str, Tensor]:
        """Codes of what inputs are compared with; encoded again once the weights that give them have changed.

        They carry no gradient: to training they are targets that move between steps. Known trade-off: a change is seen
        by torch's own count of writes to a tensor, which writing through `.data` goes around.
        """
        held = [h for m in self._compared() for h in self.towers.holds(m)]
        weights = [t for h in held for t in ([h] if isinstance(h, Tensor) else [*h.parameters(), *h.buffers()])]
        version = tuple((t.data_ptr(), t._version) for t in weights)
        if self._fixed is None or self._fixed[0] != version:
            self._fixed = version, self._codes()
        return self._fixed[1]


class ZeroShot(_Matched):
    """Which class's texts lie nearest? logits = scale · cosine with the mean of the class's text codes, [N, K].

    A class's texts are `prompts` with its name in the place of `{}`, or with each of its `texts` (descriptions,
    captions of known members) where these are given.
    """

    def __init__(self, towers: TwoEncoder, classes: Sequence[str], prompts: Sequence[str], texts: Texts | None) -> None:
        if towers.text is None or towers.text not in towers.modalities:
            raise AskedWrongly(f"{towers.name} has no text encoder, so there is nothing to put prompts to")
        if not prompts or not all("{}" in p for p in prompts):
            raise AskedWrongly(f"prompts need a place {{}} for the class's name, got {list(prompts)}")
        self.modalities = tuple(m for m in towers.modalities if m != towers.text)
        self.classes, self.prompts = tuple(classes), tuple(prompts)
        self.texts = {c: tuple(texts.get(c, ())) if texts is not None else (c,) for c in self.classes}
        mute = [c for c, own in self.texts.items() if not own]
        if mute:
            raise AskedWrongly(f"texts has none for {', '.join(map(repr, mute))}; each class needs one at least")
        self.name = f"{towers.name}, zero-shot"
        super().__init__(towers)

    def _compared(self) -> tuple[str, ...]:
        assert self.towers.text is not None
        return (self.towers.text,)

    def _codes(self) -> dict[str, Tensor]:
        texts = [p.replace("{}", t) for c in self.classes for t in self.texts[c] for p in self.prompts]
        codes = self.towers.encode_all(self._compared()[0], texts)
        each = [len(self.texts[c]) * len(self.prompts) for c in self.classes]
        means = torch.stack([part.mean(dim=0) for part in torch.split(codes, each)])
        return {"classes": functional.normalize(means, dim=1)}

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        (own,) = codes.values()
        fused: Tensor = own
        return fused

    def decide(self, fused: Tensor) -> Tensor:
        return self.towers.scale * fused @ self.fixed()["classes"].T

    def fingerprint(self) -> str:
        return f"{self.name}:{self.towers.fingerprint()}:{self.classes}:{tensors_fingerprint(self.fixed())}"


class Retrieval(_Matched):
    """Does a pair find each other among distractors? logits [N, 2]: the nearest distractor's, the partner's.

    The gallery is fixed, so a sample's scores do not depend on what it is batched with; take it from data that are not
    audited. way: "first" asks the first modality for the second (with image and text: text retrieval), "second" the
    other way round, "both" counts a pair as found if both ways find it. A distractor that is as near as the partner
    counts as nearer: a model whose codes are all alike finds nothing. classes are `FOUND`.
    """

    classes = FOUND

    def __init__(self, towers: TwoEncoder, gallery: Mapping[str, Value], way: Way = "both") -> None:
        self.modalities = towers.modalities
        if len(self.modalities) != 2:
            raise AskedWrongly(f"retrieval needs two modalities, {towers.name} has {', '.join(self.modalities)}")
        if way not in ("both", "first", "second"):
            raise AskedWrongly(f"way is {way!r}; it must be 'both', 'first' or 'second'")
        first, second = self.modalities
        # The partners of the first modality's inputs are of the second, and so are their distractors.
        wanted = {"both": (first, second), "first": (second,), "second": (first,)}[way]
        lacking = [m for m in wanted if not len(gallery.get(m, ()))]
        if lacking:
            raise AskedWrongly(f"the gallery has no {' and no '.join(lacking)} to tell the partner from")
        self.gallery: dict[str, Value] = {m: gallery[m] for m in wanted}
        self.way: Way = way
        self.name = f"{towers.name}, retrieval"
        super().__init__(towers)

    def _compared(self) -> tuple[str, ...]:
        return tuple(self.gallery)

    def _codes(self) -> dict[str, Tensor]:
        return {m: self.towers.encode_all(m, v) for m, v in self.gallery.items()}

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        first, second = self.modalities
        return torch.cat([codes[first], codes[second]], dim=1)

    def decide(self, fused: Tensor) -> Tensor:
        first, second = fused.chunk(2, dim=1)
        by = dict(zip(self.modalities, (second, first), strict=True))  # whom a gallery of this modality competes for
        own = (first * second).sum(dim=1)
        others = torch.stack([(by[m] @ codes.T).amax(dim=1) for m, codes in self.fixed().items()]).amax(dim=0)
        return self.towers.scale * torch.stack([others, own], dim=1)

    def fingerprint(self) -> str:
        return f"{self.name}:{self.towers.fingerprint()}:{self.way}:{tensors_fingerprint(self.fixed())}"
