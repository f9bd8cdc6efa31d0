"""ViLT: one transformer over words and patches, with classes of its own (answers to questions, true or false)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.errors import AskedWrongly, shown
from muroan.modality import Value
from muroan.model import Capability, Code, Embedded, Model, weights_fingerprint
from muroan.models.hf.folder import Folder
from muroan.models.hf.pictures import Pictures
from muroan.models.hf.texts import Tokens
from muroan.models.hf.towers import in_chunks

NETWORKS = ("ViltForQuestionAnswering", "ViltForImagesAndTextClassification")
"""Classes of networks that end in classes."""


class Vilt(Model):
    """Pictures and a text -> classes.

    images: names of the pictures' modalities, in the order that the network takes them; text: that of the text.
    classes: among the network's own, in any order; the decision is between these. All of them if left out.

    It can be taken apart where words and patches become vectors, and so embeddings and gradients reach both. What comes
    then is the whole transformer, and fusing is as dear as predicting, so `Capability.FUSE` is not declared: methods
    that fuse by the ten thousand would gain nothing. All patches are used; the network's own shuffles them, which does
    not matter, and drops some at random where its config limits their number, which a repeatable score cannot.
    """

    def __init__(
        self,
        folder: Folder,
        images: Sequence[str],
        text: str,
        classes: Sequence[str] | None,
        device: str | torch.device,
    ) -> None:
        kind = network_of(folder)
        config = folder.config
        wanted = int(config.num_images) if kind == NETWORKS[1] else 1
        if len(images) != wanted:
            raise AskedWrongly(f"hf:{folder.name} takes {wanted} pictures and a text, not {len(images)} pictures")
        self.name = f"hf:{folder.name}"
        self.images, self.text = tuple(images), text
        self.modalities = (*self.images, text)
        own = [str(config.id2label[k]) for k in range(len(config.id2label))]
        self.classes = tuple(own if classes is None else classes)
        strange = [c for c in self.classes if c not in own]
        if strange:
            raise AskedWrongly(
                f"{self.name} cannot answer {', '.join(shown(c) for c in strange[:5])}"
                f"{' and more' if len(strange) > 5 else ''}; its {len(own)} classes begin with {own[:8]}"
            )
        self._columns = torch.tensor([own.index(c) for c in self.classes])
        self.capabilities = frozenset({Capability.SCORES, Capability.GRADIENTS, Capability.TRAIN})
        self.device = torch.device(device)
        self._tokens = Tokens(folder, int(config.max_position_embeddings), fixed=True)
        if self._tokens.shows_words:
            self.capabilities |= {Capability.EMBEDDINGS}
        self._network = _Network(folder.network(kind), Pictures(folder), self._tokens.digest).eval().to(self.device)

    def encode(self, modality: str, values: Value) -> Code:
        if modality == self.text:
            ids, mask = self._tokens(values)
            return self.encode_embedded(modality, Embedded(self._vectors(ids), mask, mask.long()))
        codes: Tensor = self._network.patches(values.to(self.device)).cpu()
        return codes

    def _vectors(self, ids: Tensor) -> Tensor:
        vectors: Tensor = self._network.vilt.get_input_embeddings()(ids.to(self.device)).cpu()
        return vectors

    def embed(self, modality: str, values: Sequence[str]) -> Embedded:
        if Capability.EMBEDDINGS not in self.capabilities:
            return super().embed(modality, values)
        ids, mask, words = self._tokens.with_words(values)
        return Embedded(self._vectors(ids), mask, words)

    def encode_embedded(self, modality: str, embedded: Embedded) -> Code:
        """[N, T, D + 1]: the vectors, and whether there is a token."""
        return torch.cat([embedded.vectors, embedded.mask[..., None].to(embedded.vectors.dtype)], dim=2)

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        text = codes[self.text]
        used = int(text[..., -1].sum(dim=1).max()) if len(text) else 0  # texts are padded on the right
        text = text[:, : max(1, used)]

        def fused(index: Tensor) -> Tensor:
            pictures = [codes[m][index].to(self.device) for m in self.images]
            return self._network.pooled(text[index].to(self.device), pictures).cpu()

        return in_chunks(fused, torch.arange(len(text)))

    def decide(self, fused: Tensor) -> Tensor:
        logits: Tensor = self._network.classifier(fused.to(self.device)).cpu()
        return logits.index_select(1, self._columns)

    def trainable(self) -> nn.ModuleDict:
        return nn.ModuleDict({"network": self._network})

    def fingerprint(self) -> str:
        return f"{self.name}:{weights_fingerprint(self._network)}:{self.classes}"


class _Network(nn.Module):
    """The transformer and its classifier, in the parts that `Vilt` needs."""

    def __init__(self, whole: Any, prepare: Pictures, tokenizer: Tensor) -> None:
        super().__init__()
        self.vilt, self.classifier, self.prepare = whole.vilt, whole.classifier, prepare
        self.register_buffer("tokenizer", tokenizer)

    def patches(self, x: Tensor) -> Tensor:
        """Pictures -> vectors of the whole picture and its patches with their positions [N, 1 + P, D]."""
        own = self.vilt.embeddings
        grid = own.patch_embeddings(self.prepare(x))
        side = own.config.image_size // own.config.patch_size
        places = own.position_embeddings[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        places = functional.interpolate(places, size=grid.shape[-2:], mode="bilinear", align_corners=True)
        vectors = (grid + places).flatten(2).transpose(1, 2)
        first = (own.cls_token + own.position_embeddings[:, :1]).expand(len(x), -1, -1)
        return torch.cat([first, vectors], dim=1)

    def pooled(self, text: Tensor, pictures: Sequence[Tensor]) -> Tensor:
        """Codes of a text and of each picture -> what the classifier reads [N, D · pictures]."""
        mask = text[..., -1].detach().long()
        found = [
            self.vilt(
                inputs_embeds=text[..., :-1],
                attention_mask=mask,
                image_embeds=patches,
                pixel_mask=torch.ones(patches.shape[:2], dtype=torch.long, device=patches.device),
                image_token_type_idx=k,
            ).pooler_output
            for k, patches in enumerate(pictures, start=1)
        ]
        return torch.cat(found, dim=1)


def network_of(folder: Folder) -> str:
    """The class of a folder's network; `AskedWrongly` if it does not end in classes."""
    said = list(folder.config.architectures or [])
    for kind in said:
        if kind in NETWORKS:
            return str(kind)
    raise AskedWrongly(
        f"hf:{folder.name} is a {', '.join(said) or 'ViLT'}, which does not end in classes; what works is "
        f"{' and '.join(NETWORKS)}"
    )
