"""How a loss changes with the words of texts, to first order, where a model shows its token embeddings.

Source: HotFlip (Ebrahimi et al., ACL 2018), over whole words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from muroan.interventions.attacks.losses import loss_of
from muroan.meter import Codes, Metered
from muroan.model import Embedded


@dataclass(frozen=True)
class Slopes:
    """gradient [N, W, D]: of the loss at each word, summed over the word's tokens; own [N, W]: gradient · embedding, by
    token, summed. Putting the vector v in the place of word w of text i promises gradient[i, w] · v − own[i, w]."""

    gradient: Tensor
    own: Tensor

    def promise(self, text: int | Tensor, word: Tensor, vectors: Tensor) -> Tensor:
        """What each replacement promises to add to the loss [C]; word [C], vectors [C, D]; a removal's vector is 0."""
        return (self.gradient[text, word] * vectors).sum(dim=1) - self.own[text, word]


def slopes_of(
    model: Metered,
    m: str,
    texts: Sequence[str],
    others: Mapping[str, Codes],
    labels: Tensor,
    present: Mapping[str, Tensor] | None = None,
) -> Slopes:
    """Of the loss of labels [N] at the words of N texts; others: the other modalities' codes, row by row."""
    with torch.no_grad():
        embedded = model.model.embed(m, list(texts))
    vectors = embedded.vectors.detach().requires_grad_(True)
    logits = model.differentiable({**others, m: replace(embedded, vectors=vectors)}, present or None)
    (gradient,) = model.backward(loss_of(logits, labels).sum(), [vectors], len(texts))
    width = max([1, *(len(t.split()) for t in texts)])
    at = embedded.words.clamp_min(0)
    here = (embedded.mask & (embedded.words >= 0)).to(gradient.dtype)
    by_word = gradient.new_zeros(len(texts), width, gradient.shape[-1])
    by_word.scatter_add_(1, at[..., None].expand_as(gradient), gradient * here[..., None])
    own = gradient.new_zeros(len(texts), width)
    return Slopes(by_word, own.scatter_add_(1, at, (gradient * vectors.detach()).sum(dim=-1) * here))


def mean_vectors(embedded: Embedded) -> Tensor:
    """The mean over the tokens that belong to a word [N, D]; special tokens are none of it."""
    vectors = embedded.vectors.detach()
    weight = (embedded.mask & (embedded.words >= 0))[..., None].to(vectors.dtype)
    mean: Tensor = (vectors * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
    return mean
