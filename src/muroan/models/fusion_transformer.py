"""A small transformer over the tokens of several inputs, with a choice of the layer from which they see each other.

Below `fusion_layer` a token attends to tokens of its own input, from there on to all of them: 0 fuses from the start,
`layers` never (late fusion, by averaging the inputs' class tokens). The same blocks serve all inputs, so every choice
has the same parameters. Source of the question: Ma et al., CVPR 2022 (arXiv 2204.05454); this network is our own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from muroan.errors import AskedWrongly
from muroan.modality import Value
from muroan.model import Capability, Code, Model, weights_fingerprint
from muroan.randomness import seeded


class Pieces(nn.Module):
    """Rows of numbers [N, ...] -> tokens [N, T, D]: `tokens` pieces of about one length, each through one layer."""

    def __init__(self, width: int, tokens: int, dim: int) -> None:
        super().__init__()
        self.tokens, self.padding = tokens, -width % tokens
        self.layer = nn.Linear((width + self.padding) // tokens, dim)
        self.place = nn.Parameter(0.1 * torch.randn(tokens, dim))

    def forward(self, x: Tensor) -> Tensor:
        flat = functional.pad(x.flatten(1), (0, self.padding))
        found: Tensor = self.layer(flat.view(len(x), self.tokens, -1)) + self.place
        return found


class Words(nn.Module):
    """Texts -> tokens [N, T, D]: the first `tokens` words, a vector each; no word and an unknown one have their own."""

    def __init__(self, vocabulary: Sequence[str], tokens: int, dim: int) -> None:
        super().__init__()
        self.index = {w: i for i, w in enumerate(vocabulary, start=2)}
        self.tokens = tokens
        self.table = nn.Embedding(len(vocabulary) + 2, dim)
        self.place = nn.Parameter(0.1 * torch.randn(tokens, dim))

    def forward(self, texts: Sequence[str]) -> Tensor:
        rows = [[self.index.get(w, 1) for w in t.split()[: self.tokens]] for t in texts]
        index = torch.tensor([r + [0] * (self.tokens - len(r)) for r in rows], dtype=torch.long)
        found: Tensor = self.table(index.view(-1, self.tokens)) + self.place
        return found


class Block(nn.Module):
    """Attention, then two layers, each on what is normalised and added to what was there."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.read, self.write = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.think = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """x [N, T, D]; seen bool [N, T, T]: whether the row's token may look at the column's."""
        n, t, d = x.shape
        q, k, v = self.read(self.first(x)).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None])
        x = x + self.write(mixed.transpose(1, 2).reshape(n, t, d))
        out: Tensor = x + self.think(self.second(x))
        return out


class FusionTransformer(Model):
    """tokens[m]: module, values of N samples -> tokens [N, T_m, D], `dim` numbers each (`Pieces`, `Words`, your own).

    An input that is absent is masked: no other token attends to its tokens, and its class token is not read. Its own
    tokens attend to themselves, so that no row of the attention is empty. With nothing present the bias decides.
    """

    capabilities = frozenset(
        {Capability.SCORES, Capability.FUSE, Capability.GRADIENTS, Capability.TRAIN, Capability.ABSENT}
    )

    def __init__(
        self,
        tokens: Mapping[str, nn.Module],
        *,
        classes: Sequence[str],
        fusion_layer: int,
        layers: int = 2,
        dim: int = 32,
        heads: int = 4,
        seed: int = 0,
        name: str = "fusion transformer",
    ) -> None:
        if not 0 <= fusion_layer <= layers:
            raise AskedWrongly(f"fusion_layer is {fusion_layer}; with {layers} layers it is one of 0 to {layers}")
        if dim % heads:
            raise AskedWrongly(f"dim is {dim}, which {heads} heads cannot share")
        self.modalities, self.classes = tuple(tokens), tuple(classes)
        self.fusion_layer, self.name = fusion_layer, name
        with seeded("fusion transformer", seed):
            self._tokens = nn.ModuleDict(dict(tokens))
            start = {m: nn.Parameter(torch.randn(1, 1, dim) / math.sqrt(dim)) for m in self.modalities}
            self._start = nn.ParameterDict(start)
            self._blocks = nn.ModuleList(Block(dim, heads) for _ in range(layers))
            self._norm, self._head = nn.LayerNorm(dim), nn.Linear(dim, len(self.classes))
        parts = {"tokens": self._tokens, "start": self._start, "blocks": self._blocks}
        self._network = nn.ModuleDict({**parts, "norm": self._norm, "head": self._head}).eval()

    @property
    def parameters(self) -> int:
        """How many numbers are trained; the same for every `fusion_layer`."""
        return sum(p.numel() for p in self._network.parameters())

    def encode(self, modality: str, values: Value) -> Code:
        """The class token of the input and its tokens, [N, 1 + T, D]."""
        found: Tensor = self._tokens[modality](values)
        return torch.cat([self._start[modality].expand(len(found), -1, -1), found], dim=1)

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        parts = [codes[m] for m in self.modalities]
        n = len(parts[0])
        every = torch.ones(n, dtype=torch.bool)
        here = torch.stack([(present or {}).get(m, every) for m in self.modalities], dim=1)
        sizes = torch.tensor([p.shape[1] for p in parts])
        owner = torch.arange(len(parts)).repeat_interleave(sizes)
        there = here[:, owner]
        itself = torch.eye(len(owner), dtype=torch.bool)
        together = there[:, None, :] & there[:, :, None] | itself
        apart = together & (owner[:, None] == owner[None, :])
        x = torch.cat(parts, dim=1)
        for k, block in enumerate(self._blocks):
            x = block(x, apart if k < self.fusion_layer else together)
        first = x[:, sizes.cumsum(0) - sizes]
        weights = here[..., None].to(x.dtype)
        fused: Tensor = (self._norm(first) * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)
        return fused

    def decide(self, fused: Tensor) -> Tensor:
        logits: Tensor = self._head(fused)
        return logits

    def trainable(self) -> nn.ModuleDict:
        return self._network

    def fingerprint(self) -> str:
        return f"{self.name}:{self.fusion_layer}:{weights_fingerprint(self._network)}"
