"""Replacing words by others that mean the same, or that a reader takes for a slip of the keyboard.

A word may become one of the words that the data's lexicon calls equal, or itself with two neighbouring letters
swapped. Nothing else: a substitution that changes what the text says would change the right answer as well.
Candidates are ranked by gradient as in HotFlip (Ebrahimi et al., ACL 2018) where the model shows its embeddings and
there are many; what is ranked is then really tried.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from muroan.attack import Attack, Attacked
from muroan.batch import Batch
from muroan.budget import Budgets
from muroan.errors import AskedWrongly
from muroan.meter import Codes, Metered
from muroan.modality import Text
from muroan.model import Capability
from muroan.registry import register
from muroan.robustness.adversarial.losses import loss_of

SHORTEST = 4
"""Letters a word needs for a swap of two of them to leave it readable."""


@dataclass(frozen=True)
class Candidate:
    """Word number `word` of a text replaced by `by`."""

    word: int
    by: str


def swapped(word: str) -> str | None:
    """The word with its first two different inner letters swapped ("circle" -> "cricle"); None if there are none."""
    if len(word) < SHORTEST:
        return None
    for k in range(1, len(word) - 2):
        if word[k] != word[k + 1] and word[k].isalpha() and word[k + 1].isalpha():
            return word[:k] + word[k + 1] + word[k] + word[k + 2 :]
    return None


def candidates(text: str, modality: Text, done: frozenset[int] = frozenset()) -> list[Candidate]:
    """Every allowed replacement of one word, in the order of the words; words in `done` were replaced before."""
    lexicon = dict(modality.lexicon)
    found: list[Candidate] = []
    for k, token in enumerate(text.split()):
        if k in done:
            continue
        head, core, tail = _split(token)
        others = [head + w + tail for w in lexicon.get(core.lower(), ())]
        slip = swapped(core)
        found += [Candidate(k, w) for w in [*others, *([head + slip + tail] if slip else [])]]
    return found


def _split(token: str) -> tuple[str, str, str]:
    """Punctuation before a word, the word, punctuation after it."""
    match = re.fullmatch(r"(\W*)(.*?)(\W*)", token, re.DOTALL)
    assert match is not None
    return match[1], match[2], match[3]


def replaced(text: str, candidate: Candidate) -> str:
    """The text with one word replaced."""
    words = text.split()
    words[candidate.word] = candidate.by
    return " ".join(words)


@register
@dataclass(frozen=True, kw_only=True)
class WordSubstitution(Attack):
    """Greedy: of all allowed replacements of one word the one that hurts most, then the next word.

    Replacements are tried through encode and fuse, so an input that stays is not encoded again. tries: replacements per
    text and word that are tried; where there are more and the model shows token embeddings, those that the gradient
    ranks first, else the first in order. `trace`: words changed [N] per sample.
    """

    name: ClassVar[str] = "word_substitution"
    source: ClassVar[str] = "greedy substitution in the manner of HotFlip, Ebrahimi et al. 2018"
    needs: ClassVar[frozenset[Capability]] = frozenset({Capability.SCORES})

    tries: int = 32

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise AskedWrongly(f"word_substitution has to try something; tries is {self.tries}")

    def run(self, model: Metered, batch: Batch, budgets: Budgets, *, seed: int = 0) -> Attacked:
        model.require(*self.needs)
        texts = {
            m: budgets[m].words for m in model.modalities if m in budgets and isinstance(batch.modalities[m], Text)
        }
        codes, index = model.codes(batch)
        logits = model.logits(codes, index, batch.present or None)
        labels = logits.argmax(dim=1)
        state = _State(
            inputs={m: list(batch.inputs[m]) for m in texts},
            codes={m: c.take(index[m]) for m, c in codes.items()},
            logits=logits.clone(),
            loss=loss_of(logits, labels),
            labels=labels,
            changed=torch.zeros(len(batch), dtype=torch.long),
            done={m: [frozenset()] * len(batch) for m in texts},
            present=batch.present,
        )
        for m, words in texts.items():
            for _ in range(words):
                if not self._step(model, batch, m, state):
                    break
        changed = batch.with_inputs(**{m: v for m, v in state.inputs.items() if texts[m]})
        success = state.logits.argmax(dim=1) != labels
        return Attacked(changed, success, state.logits, {"words": state.changed})

    def _step(self, model: Metered, batch: Batch, m: str, state: _State) -> bool:
        """Replace one more word of every undecided text where that hurts; False if nothing was tried."""
        modality = batch.modalities[m]
        assert isinstance(modality, Text)
        open_ = (state.logits.argmax(dim=1) == state.labels).nonzero().flatten().tolist()
        tried = [(i, c) for i in open_ for c in self._ranked(model, m, modality, i, state)]
        if not tried:
            return False
        texts = [replaced(state.inputs[m][i], c) for i, c in tried]
        distinct = list(dict.fromkeys(texts))
        place = {t: k for k, t in enumerate(distinct)}
        sample = torch.tensor([i for i, _ in tried])
        coded = model.encode(m, distinct)
        rows = {other: sample for other in state.codes if other != m}
        rows[m] = torch.tensor([place[t] for t in texts])
        present = {k: v[sample] for k, v in batch.present.items()} or None
        logits = model.logits({**state.codes, m: coded}, rows, present)
        loss = loss_of(logits, state.labels[sample])
        rank = torch.where(logits.argmax(dim=1) != state.labels[sample], torch.inf, loss)
        top = torch.full((len(batch),), -torch.inf, dtype=rank.dtype).scatter_reduce(0, sample, rank, reduce="amax")
        seen: set[int] = set()
        for k in (rank == top[sample]).nonzero().flatten().tolist():
            i = int(sample[k])
            if i in seen or float(rank[k]) <= float(state.loss[i]):
                continue
            seen.add(i)
            state.inputs[m][i] = texts[k]
            state.done[m][i] = state.done[m][i] | {tried[k][1].word}
            state.logits[i], state.loss[i] = logits[k], loss[k]
            state.changed[i] += 1
        state.codes = {**state.codes, m: model.encode(m, state.inputs[m])} if seen else state.codes
        return bool(seen)

    def _ranked(self, model: Metered, m: str, modality: Text, i: int, state: _State) -> list[Candidate]:
        text = state.inputs[m][i]
        found = candidates(text, modality, state.done[m][i])
        if len(found) <= self.tries:
            return found
        shows = {Capability.EMBEDDINGS, Capability.GRADIENTS} <= model.model.capabilities
        if not shows:
            return found[: self.tries]
        promise = first_order(
            model,
            m,
            text,
            found,
            {k: c.take(torch.tensor([i])) for k, c in state.codes.items()},
            state.labels[i],
            {k: v[i : i + 1] for k, v in state.present.items()},
        )
        order = promise.argsort(descending=True, stable=True)[: self.tries]
        return [found[int(k)] for k in order]


@dataclass
class _State:
    """The attack so far, per sample."""

    inputs: dict[str, list[str]]
    codes: dict[str, Codes]
    logits: Tensor
    loss: Tensor
    labels: Tensor
    changed: Tensor
    done: dict[str, list[frozenset[int]]]
    present: Mapping[str, Tensor]


def first_order(
    model: Metered,
    m: str,
    text: str,
    found: Sequence[Candidate],
    codes: dict[str, Codes],
    label: Tensor,
    present: dict[str, Tensor] | None = None,
) -> Tensor:
    """What each replacement promises to add to the loss, to first order: ∇_e L · (e(new word) − e(word)), [C]."""
    embedded = model.model.embed(m, [text])
    vectors = embedded.vectors.detach().requires_grad_(True)
    inputs = {k: c for k, c in codes.items() if k != m}
    logits = model.differentiable({**inputs, m: type(embedded)(vectors, embedded.mask, embedded.words)}, present)
    (gradient,) = model.backward(loss_of(logits, label.view(1)).sum(), [vectors], 1)
    new = model.model.embed(m, [c.by for c in found])
    weight = new.mask[..., None].to(new.vectors.dtype)
    mean = (new.vectors * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
    promise = []
    for c, vector in zip(found, mean, strict=True):
        tokens = embedded.words[0] == c.word
        promise.append((gradient[0, tokens] * (vector - vectors.detach()[0, tokens])).sum())
    return torch.stack(promise)
