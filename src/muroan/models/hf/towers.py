"""The two encoders of CLIP, SigLIP and CLAP, each a module that takes what the user has: pixels, a wave, strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from muroan.model import Embedded
from muroan.models.hf.folder import Folder
from muroan.models.hf.pictures import Pictures
from muroan.models.hf.sounds import Sounds
from muroan.models.hf.texts import Tokens

ROWS = 64
"""Values that pass at once where no graph is kept: a few hundred MB for the usual networks."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """How a kind of model is built. network: its class; kind: of the modality beside text; module: the name of its
    encoder; projections: of what follows it, and the text's; scale: of the logarithm of the temperature."""

    network: str
    kind: str
    module: str
    projections: tuple[str, str] | None
    scale: str = "logit_scale"
    full_length: bool = False
    """Whether texts are padded to their full length and pads are not masked: so SigLIP was trained."""
    reserved: int = 0
    """Positions of the text network that no token can have."""


VISUAL, AUDIO = ("visual_projection", "text_projection"), ("audio_projection", "text_projection")
FAMILIES: dict[str, Family] = {
    "clip": Family(network="CLIPModel", kind="image", module="vision_model", projections=VISUAL),
    "siglip": Family(network="SiglipModel", kind="image", module="vision_model", projections=None, full_length=True),
    "clap": Family(
        network="ClapModel", kind="audio", module="audio_model", projections=AUDIO, scale="logit_scale_a", reserved=2
    ),
}
"""By the config's model_type."""


class SignalTower(nn.Module):
    """Pictures [N, 3, H, W] in [0, 1], or waves [N, T] -> [N, D]."""

    def __init__(self, prepare: Pictures | Sounds, network: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.prepare, self.network, self.projection = prepare, network, projection

    def forward(self, x: Tensor) -> Tensor:
        return in_chunks(lambda part: self.projection(self.network(**self.prepare.named(part)).pooler_output), x)


class TextTower(nn.Module):
    """Strings -> [N, D]; and the same from token embeddings, so that gradients reach words."""

    def __init__(self, folder: Folder, family: Family, network: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        config: Any = network.config
        self.network, self.projection = network, projection
        self.tokens = Tokens(folder, int(config.max_position_embeddings) - family.reserved, fixed=family.full_length)
        self.masked = not family.full_length
        self.register_buffer("tokenizer", self.tokens.digest)
        eos = getattr(config, "eos_token_id", None)
        # Checkpoints of CLIP that say 2 take the state of the largest id as the text's, others that of the first eos.
        self.last = int(config.vocab_size) - 1 if eos in (None, 2) else int(eos)
        self.filler = next(i for i in range(3) if i not in (self.tokens.pad, self.last))

    def forward(self, texts: Sequence[str]) -> Tensor:
        return in_chunks(lambda part: self._pooled(*self.tokens(part)), texts)

    def embed(self, texts: Sequence[str]) -> Embedded:
        """What the token table gives, before positions are added."""
        ids, mask, words = self.tokens.with_words(texts)
        table = self._table()
        return Embedded(table(ids.to(_device(table))).cpu(), mask, words)

    def encode_embedded(self, embedded: Embedded) -> Tensor:
        """[N, D] of these vectors in the place of the tokens'."""
        # The network still asks ids where a text ends and what is padding; nothing else of them is used.
        mask = embedded.mask
        ids = torch.where(mask, self.filler, self.tokens.pad)
        ends = (mask * torch.arange(mask.shape[1])).argmax(dim=1)
        ids[torch.arange(len(ids)), ends] = self.last
        # While this hook lasts, the table of tokens gives the vectors, whatever it is asked.
        table = self._table()
        with table.register_forward_hook(lambda _module, _ids, _out: embedded.vectors.to(_device(table))):
            return self._pooled(ids, mask)

    def _pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        there = _device(self._table())
        known = {"attention_mask": mask.long().to(there)} if self.masked else {}
        out: Tensor = self.projection(self.network(input_ids=ids.to(there), **known).pooler_output)
        return out

    def _table(self) -> nn.Module:
        table: nn.Module = self.network.get_input_embeddings()  # type: ignore[operator]
        return table


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def in_chunks(work: Callable[[Any], Tensor], values: Any) -> Tensor:
    """`work` on at most `ROWS` values at once where no graph is kept."""
    if torch.is_grad_enabled() or len(values) <= ROWS:
        return work(values)
    return torch.cat([work(values[k : k + ROWS]) for k in range(0, len(values), ROWS)])


def towers_of(folder: Folder, rate: int | None = None) -> tuple[nn.Module, TextTower, float]:
    """(the tower beside text, the text's tower, the scale of cosines) of a folder with a config among `FAMILIES`.

    rate: samples a second of the sounds that will come; the model's own if left out.
    """
    family = FAMILIES[folder.config.model_type]
    whole: Any = folder.network(family.network)
    first, second = [getattr(whole, p) for p in family.projections] if family.projections else [nn.Identity()] * 2
    prepare = Pictures(folder) if family.kind == "image" else Sounds(folder, rate)
    signal = SignalTower(prepare, getattr(whole, family.module), first)
    text = TextTower(folder, family, whole.text_model, second)
    return signal.eval(), text.eval(), float(getattr(whole, family.scale).detach().exp())
