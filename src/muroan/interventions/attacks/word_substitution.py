"""Replacing words by others: the search that every attack on words shares.

Unless told otherwise a word may become one of the words that the data's lexicon calls equal, or itself with two
neighbouring letters swapped: a substitution that changes what the text says would change the right answer as well.
Other sources of replacements are in `candidates`, `character_edits` and `masked_words`; `meaning` says what keeps the
meaning where they do not. Where there are many candidates and the model shows its embeddings, they are ranked by
gradient as in HotFlip (Ebrahimi et al., ACL 2018); what is ranked first is then really tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from muroan.attack import Attack, Attacked
from muroan.batch import Batch
from muroan.budget import Budget, Budgets
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.candidates import (
    SHORTEST,
    Candidate,
    Lexicon,
    Proposed,
    Scene,
    Slip,
    Slopes,
    Source,
    mean_vectors,
    split,
    swapped,
)
from muroan.interventions.attacks.losses import loss_of
from muroan.interventions.meaning import Meaning
from muroan.meter import Codes, Metered
from muroan.modality import Text
from muroan.model import Capability
from muroan.registry import register

ROWS = 256
"""Texts in one backward pass: bounds its memory."""
SHOWS_WORDS = frozenset({Capability.EMBEDDINGS, Capability.GRADIENTS})


def candidates(text: str, modality: Text, done: frozenset[int] = frozenset()) -> list[Candidate]:
    """Every replacement of one word by the lexicon or a slip, in the order of the words; those in `done` stay."""
    sources = (Lexicon(), Slip())
    return [
        Candidate(k, by)
        for k, token in enumerate(text.split())
        if k not in done
        for source in sources
        for by in source.instead(token, modality)
    ]


def replaced(text: str, candidate: Candidate) -> str:
    """The text with one word replaced, or removed."""
    words = text.split()
    words[candidate.word] = candidate.by
    return " ".join(w for w in words if w)


@register
@dataclass(frozen=True, kw_only=True)
class WordSubstitution(Attack):
    """Greedy: of all allowed replacements of one word the one that hurts most, then the next word.

    All undecided texts take a step together: distinct texts are encoded once, an input that stays is not encoded again,
    and one backward pass ranks the candidates of many texts. Only what raises the loss is kept.

    sources: where replacements come from. tries: replacements per text and step that are tried; where there are more
    and the model shows token embeddings, those that the gradient ranks first, else the first in order. order: "best"
    looks at all words in each step; "importance" goes through the words in the order of how much the decision suffers
    without each, as BERT-Attack does, one candidate list a step (`mask`: what stands in a word's place while that is
    measured; "" leaves it out). stop: words never replaced. meaning: a judge of whether a changed text still says what
    the original says, alike: the least cosine it must find. length: how much a text's number of characters may change,
    as a share of the original's; None: as it comes.

    `trace`, per sample: words changed; not_alike, too_long: candidates dropped by either gate.
    """

    name = "word_substitution"
    source = "greedy substitution in the manner of HotFlip, Ebrahimi et al. 2018"
    needs = frozenset({Capability.SCORES})

    sources: tuple[Source, ...] = (Lexicon(), Slip())
    tries: int = 32
    order: Literal["best", "importance"] = "best"
    mask: str = ""
    stop: tuple[str, ...] = ()
    meaning: Meaning | None = None
    alike: float = 0.8
    length: float | None = None

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise AskedWrongly(f"{self.name} has to try something; tries is {self.tries}")
        if self.order not in ("best", "importance"):
            raise AskedWrongly(f"order is {self.order!r}; it must be 'best' or 'importance'")
        if not self.sources:
            raise AskedWrongly(f"{self.name} needs a source of replacements")
        if not -1 <= self.alike <= 1 or (self.length is not None and self.length < 0):
            raise AskedWrongly(f"alike is a cosine, length a share from 0: {self.alike}, {self.length}")

    def allowance(self, budget: Budget, text: str) -> int:
        """How many words of a text may change."""
        return budget.words

    def run(self, model: Metered, batch: Batch, budgets: Budgets, *, seed: int = 0) -> Attacked:
        model.require(*self.needs)
        if any(s.needs_slopes for s in self.sources):
            model.require(*SHOWS_WORDS)
        codes, index = model.codes(batch)
        logits = model.logits(codes, index, batch.present or None)
        labels, n = logits.argmax(dim=1), len(batch)
        state = State(
            codes={m: c.take(index[m]) for m, c in codes.items()},
            logits=logits.clone(),
            loss=loss_of(logits, labels),
            labels=labels,
            present=batch.present,
            trace={k: torch.zeros(n, dtype=torch.long) for k in ("words", "not_alike", "too_long")},
        )
        changed = {}
        for m, budget in budgets.items():
            kind = batch.modalities.get(m)
            if m in model.modalities and isinstance(kind, Text) and not budget.empty:
                left = [self.allowance(budget, t) for t in batch.inputs[m]]
                if any(left):
                    changed[m] = Search(self, model, m, kind, list(batch.inputs[m]), left, state).run()
        success = state.logits.argmax(dim=1) != labels
        return Attacked(batch.with_inputs(**changed), success, state.logits, state.trace)


@dataclass
class State:
    """The attack so far, per sample: what all modalities' searches share."""

    codes: dict[str, Codes]
    logits: Tensor
    loss: Tensor
    labels: Tensor
    present: Mapping[str, Tensor]
    trace: dict[str, Tensor]

    def some(self, index: Tensor, without: str) -> tuple[dict[str, Codes], dict[str, Tensor]]:
        """The codes of the other modalities, and presence, of some samples (repeats allowed)."""
        others = {k: c.take(index) for k, c in self.codes.items() if k != without}
        return others, {k: v[index] for k, v in self.present.items()}


class Search:
    """The search over one modality's texts. A text is its words, "" where one was removed, so that places stay."""

    def __init__(
        self,
        attack: WordSubstitution,
        model: Metered,
        m: str,
        kind: Text,
        texts: list[str],
        left: list[int],
        state: State,
    ) -> None:
        self.attack, self.model, self.m, self.kind, self.state = attack, model, m, kind, state
        self.original, self.texts, self.left = texts, list(texts), left
        self.words = [t.split() for t in texts]
        stop = {w.casefold() for w in attack.stop}
        self.open = [{k for k, w in enumerate(ws) if split(w)[1].casefold() not in stop} for ws in self.words]
        self.turn: list[list[int]] = []

    def run(self) -> list[str]:
        """The changed texts."""
        if self.attack.order == "importance":
            self.turn = self._importance()
        while True:
            wrong = self.state.logits.argmax(dim=1) != self.state.labels
            rows = [i for i, ws in enumerate(self.open) if ws and self.left[i] > 0 and not bool(wrong[i])]
            if not rows or not self._step(rows):
                return self.texts

    def _step(self, rows: list[int]) -> bool:
        """Replace one more word of these texts where that hurts; False if there is nothing left to do."""
        tried = [(i, k, text) for i, found in zip(rows, self._found(rows), strict=True) for k, text in found]
        tried = self._alike(tried)
        hurt = self._try(tried) if tried else set()
        if self.attack.order == "importance":
            for i in rows:
                self.open[i].discard(self.turn[i].pop(0))
            return True
        for i in set(rows) - hurt:
            self.open[i] = set()  # nothing that is left raises this text's loss
        return bool(hurt)

    def _found(self, rows: list[int]) -> list[list[tuple[int, str]]]:
        """(place of the word, new text) of what is to be tried of each text, in the order of what it promises."""
        texts = [self.texts[i] for i in rows]
        slopes = cache(lambda: self._slopes(rows))
        places = [[k for k, w in enumerate(self.words[i]) if w] for i in rows]
        wanted = [{self.turn[i][0]} if self.turn else self.open[i] for i in rows]
        may = [{n for n, k in enumerate(at) if k in some} for at, some in zip(places, wanted, strict=True)]
        scene = Scene(self.model, self.m, self.kind, texts, may, slopes, self.attack.tries)
        merged: Proposed = [[] for _ in rows]
        for source in self.attack.sources:
            for mine, new in zip(merged, source.propose(scene), strict=True):
                mine += new
        out: list[list[tuple[int, str]]] = []
        allowed: Proposed = []
        for i, at, some, found in zip(rows, places, may, merged, strict=True):
            allowed.append([c for c in dict.fromkeys(found) if c.word in some and self._fits(i, at[c.word], c.by)])
        for i, at, found in zip(rows, places, self._ranked(allowed, scene), strict=True):
            out.append([(at[c.word], self._with(i, at[c.word], c.by)) for c in found])
        return out

    def _with(self, i: int, place: int, by: str) -> str:
        words = list(self.words[i])
        words[place] = by
        return " ".join(w for w in words if w)

    def _fits(self, i: int, place: int, by: str) -> bool:
        """Whether a change is one at all, and within the length that the attack allows."""
        if by == self.words[i][place]:
            return False
        most = self.attack.length
        before = len(self.original[i])
        if most is not None and abs(len(self._with(i, place, by)) - before) > most * before:
            self.state.trace["too_long"][i] += 1
            return False
        return True

    def _ranked(self, found: Proposed, scene: Scene) -> Proposed:
        """At most `tries` of each text's candidates, those that promise most where the model can tell."""
        tries = self.attack.tries
        many = [n for n, some in enumerate(found) if len(some) > tries]
        if not many or not self.model.model.capabilities >= SHOWS_WORDS:
            return [some[:tries] for some in found]
        slopes = scene.slopes()
        words = sorted({c.by for n in many for c in found[n] if c.by})
        vectors = dict(zip(words, scene.vectors(words) if words else (), strict=True))
        nothing = torch.zeros(slopes.gradient.shape[-1])
        out = [some[:tries] for some in found]
        for n in many:
            at = torch.tensor([c.word for c in found[n]])
            promise = slopes.promise(n, at, torch.stack([vectors.get(c.by, nothing) for c in found[n]]))
            order = promise.argsort(descending=True, stable=True)[:tries]
            out[n] = [found[n][int(k)] for k in order]
        return out

    def _slopes(self, rows: list[int]) -> Slopes:
        """The slopes of the loss at the words of these texts: one backward pass for up to `ROWS` of them."""
        parts = []
        for k in range(0, len(rows), ROWS):
            index = torch.tensor(rows[k : k + ROWS])
            others, present = self.state.some(index, self.m)
            texts = [self.texts[i] for i in rows[k : k + ROWS]]
            parts.append(slopes_of(self.model, self.m, texts, others, self.state.labels[index], present))
        width = max(p.own.shape[1] for p in parts)
        pad = torch.nn.functional.pad
        return Slopes(
            torch.cat([pad(p.gradient, (0, 0, 0, width - p.own.shape[1])) for p in parts]),
            torch.cat([pad(p.own, (0, width - p.own.shape[1])) for p in parts]),
        )

    def _alike(self, tried: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
        """What still says the same, by the attack's judge."""
        judge = self.attack.meaning
        if judge is None or not tried:
            return tried
        same = judge.cosine(self.model, self.m, [self.original[i] for i, _, _ in tried], [t for _, _, t in tried])
        for (i, _, _), cosine in zip(tried, same.tolist(), strict=True):
            self.state.trace["not_alike"][i] += cosine < self.attack.alike
        return [t for t, cosine in zip(tried, same.tolist(), strict=True) if cosine >= self.attack.alike]

    def _asked(self, sample: Tensor, texts: Sequence[str]) -> tuple[Tensor, Codes, Tensor]:
        """Logits of samples with other texts; the distinct texts' codes, and which one is each row's."""
        distinct = list(dict.fromkeys(texts))
        place = {t: k for k, t in enumerate(distinct)}
        coded, own = self.model.encode(self.m, distinct), torch.tensor([place[t] for t in texts])
        rows = {other: sample for other in self.state.codes if other != self.m} | {self.m: own}
        present = {k: v[sample] for k, v in self.state.present.items()} or None
        return self.model.logits({**self.state.codes, self.m: coded}, rows, present), coded, own

    def _try(self, tried: list[tuple[int, int, str]]) -> set[int]:
        """Put every changed text to the model; of each sample keep the worst, if it raises the loss. Who was hurt."""
        state, sample = self.state, torch.tensor([i for i, _, _ in tried])
        logits, coded, own = self._asked(sample, [t for _, _, t in tried])
        loss = loss_of(logits, state.labels[sample])
        rank = torch.where(logits.argmax(dim=1) != state.labels[sample], torch.inf, loss)
        top = torch.full((len(self.texts),), -torch.inf, dtype=rank.dtype).scatter_reduce(0, sample, rank, "amax")
        hurt: set[int] = set()
        code = torch.arange(len(self.texts))
        for k in ((rank == top[sample]) & (rank > state.loss[sample])).nonzero().flatten().tolist():
            i, place, text = tried[k]
            if i in hurt:
                continue
            hurt.add(i)
            kept = {n: w for n, w in enumerate(self.words[i]) if w and n != place}
            new = text.split()
            gone = len(new) == len(kept)
            self.words[i][place] = "" if gone else new[sum(n < place for n in kept)]
            self.texts[i], self.left[i] = text, self.left[i] - 1
            self.open[i].discard(place)
            state.logits[i], state.loss[i], code[i] = logits[k], loss[k], len(self.texts) + own[k]
            state.trace["words"][i] += 1
        if hurt:
            state.codes[self.m] = Codes.concat([state.codes[self.m], coded]).take(code)
        return hurt

    def _importance(self) -> list[list[int]]:
        """Each text's words that may change, those first whose absence raises the loss most."""
        masked = [(i, k) for i, some in enumerate(self.open) if self.left[i] > 0 for k in sorted(some)]
        if not masked:
            return [[] for _ in self.texts]
        sample = torch.tensor([i for i, _ in masked])
        logits, _, _ = self._asked(sample, [self._with(i, k, self.attack.mask) for i, k in masked])
        loss = loss_of(logits, self.state.labels[sample]).tolist()
        out: list[list[int]] = [[] for _ in self.texts]
        for at in sorted(range(len(masked)), key=lambda at: -loss[at]):
            i, k = masked[at]
            out[i].append(k)
        return out


def slopes_of(
    model: Metered,
    m: str,
    texts: Sequence[str],
    others: Mapping[str, Codes],
    labels: Tensor,
    present: Mapping[str, Tensor] | None = None,
) -> Slopes:
    """How the loss of labels [N] changes with the words of N texts; others: the other modalities' codes, row by row."""
    with torch.no_grad():
        embedded = model.model.embed(m, list(texts))
    vectors = embedded.vectors.detach().requires_grad_(True)
    logits = model.differentiable({**others, m: replace(embedded, vectors=vectors)}, present or None)
    (gradient,) = model.backward(loss_of(logits, labels).sum(), [vectors], len(texts))
    width = max(1, *(len(t.split()) for t in texts)) if texts else 1
    at = embedded.words.clamp_min(0)
    here = (embedded.mask & (embedded.words >= 0)).to(gradient.dtype)
    by_word = torch.zeros(len(texts), width, gradient.shape[-1], dtype=gradient.dtype)
    by_word.scatter_add_(1, at[..., None].expand_as(gradient), gradient * here[..., None])
    own = torch.zeros(len(texts), width, dtype=gradient.dtype)
    own.scatter_add_(1, at, (gradient * vectors.detach()).sum(dim=-1) * here)
    return Slopes(by_word, own)


def first_order(
    model: Metered,
    m: str,
    text: str,
    found: Sequence[Candidate],
    codes: Mapping[str, Codes],
    label: Tensor,
    present: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """What each replacement in one text promises to add to the loss, to first order [C]."""
    others = {k: c for k, c in codes.items() if k != m}
    slopes = slopes_of(model, m, [text], others, label.view(1), present)
    vectors = mean_vectors(model.model.embed(m, [c.by for c in found]))
    return slopes.promise(0, torch.tensor([c.word for c in found]), vectors)


__all__ = [
    "SHORTEST",
    "Candidate",
    "WordSubstitution",
    "candidates",
    "first_order",
    "replaced",
    "slopes_of",
    "swapped",
]
