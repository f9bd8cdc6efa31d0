"""Replacing words by others: the search that every attack on words shares.

Unless told otherwise a word may become one of the words that the data's lexicon calls equal, or itself with two
neighbouring letters swapped: a substitution that changes what the text says would change the right answer as well.
Other sources of replacements are in `candidates`, `character_edits` and `masked_words`; `meaning` says what keeps the
meaning where they do not. Where there are many candidates and the model shows its embeddings, they are ranked by
gradient as in HotFlip (Ebrahimi et al., ACL 2018); what is ranked first is then really tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from muroan.attack import Attack, Attacked
from muroan.batch import Batch
from muroan.budget import Budget, Budgets
from muroan.content import distinct_texts
from muroan.errors import AskedWrongly
from muroan.interventions.attacks.candidates import Lexicon, Proposed, Scene, Slip, Source, proposed, split
from muroan.interventions.attacks.grouped import highest
from muroan.interventions.attacks.losses import loss_of
from muroan.interventions.attacks.slopes import Slopes, slopes_of
from muroan.interventions.attacks.stage import Stage
from muroan.interventions.meaning import Meaning
from muroan.meter import Codes, Metered
from muroan.modality import Text
from muroan.model import Capability
from muroan.registry import register

ROWS = 256
"""Texts in one backward pass: bounds its memory."""
SHOWS_WORDS = frozenset({Capability.EMBEDDINGS, Capability.GRADIENTS})

Try = tuple[int, int, str, str]
"""(text, place of a word in it, what stands there instead, the new text)."""


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
        now = State.of(Stage.of(model, batch))
        changed = {}
        for m, budget in budgets.items():
            kind = model.modalities.get(m)
            if isinstance(kind, Text) and not budget.empty:
                left = [self.allowance(budget, t) for t in batch.inputs[m]]
                if any(left):
                    changed[m] = Search(self, now, m, kind, left).run()
        return Attacked(batch.with_inputs(**changed), now.wrong, now.logits, now.trace)


@dataclass
class State:
    """The attack so far, what all modalities' searches share: codes of the texts as they are now, and per sample
    logits [N, K], the loss [N] of its own decision, and what is counted."""

    stage: Stage
    logits: Tensor
    loss: Tensor
    trace: dict[str, Tensor]

    @staticmethod
    def of(stage: Stage) -> State:
        none = torch.zeros_like(stage.predicted)
        trace = {name: none.clone() for name in ("words", "not_alike", "too_long")}
        return State(stage, stage.logits.clone(), loss_of(stage.logits, stage.predicted), trace)

    @property
    def wrong(self) -> Tensor:
        """Whether the decision has changed, [N]."""
        return self.logits.argmax(dim=1) != self.stage.predicted


class Search:
    """The search over one modality's texts. A text is its words, "" where one was removed, so that places stay."""

    def __init__(self, attack: WordSubstitution, now: State, m: str, kind: Text, left: list[int]) -> None:
        self.attack, self.now, self.m, self.kind, self.left = attack, now, m, kind, left
        self.stage, self.model = now.stage, now.stage.model
        self.original = list(self.stage.batch.inputs[m])
        self.texts, self.words = list(self.original), [t.split() for t in self.original]
        stop = {w.casefold() for w in attack.stop}
        self.open = [{k for k, w in enumerate(ws) if split(w)[1].casefold() not in stop} for ws in self.words]
        self.turn = self._importance() if attack.order == "importance" else []

    def run(self) -> list[str]:
        """The changed texts."""
        while True:
            wrong = self.now.wrong.tolist()
            rows = [i for i, ws in enumerate(self.open) if ws and self.left[i] > 0 and not wrong[i]]
            if not rows or not self._step(rows):
                return self.texts

    def _step(self, rows: list[int]) -> bool:
        """Replace one more word of these texts where that hurts; False if there is nothing left to do."""
        hurt = self._try(self._alike(self._tries(rows)))
        for i in rows:
            if self.turn:
                self.open[i].discard(self.turn[i].pop(0))
            elif i not in hurt:
                self.open[i] = set()  # nothing that is left raises this text's loss
        return bool(self.turn or hurt)

    def _tries(self, rows: list[int]) -> list[Try]:
        """What is to be tried of each text, in the order of what it promises."""
        places = [[k for k, w in enumerate(self.words[i]) if w] for i in rows]
        wanted = [{self.turn[i][0]} if self.turn else self.open[i] for i in rows]
        may = [{n for n, k in enumerate(at) if k in some} for at, some in zip(places, wanted, strict=True)]
        texts, slopes = [self.texts[i] for i in rows], cache(lambda: self._slopes(rows))
        scene = Scene(self.model, self.m, self.kind, texts, may, slopes, self.attack.tries)
        allowed: Proposed = [
            [c for c in found if c.word in some and self._fits(i, at[c.word], c.by)]
            for i, at, some, found in zip(rows, places, may, proposed(scene, self.attack.sources), strict=True)
        ]
        ranked = zip(rows, places, self._ranked(allowed, scene), strict=True)
        return [(i, at[c.word], c.by, self._with(i, at[c.word], c.by)) for i, at, found in ranked for c in found]

    def _with(self, i: int, place: int, by: str) -> str:
        words = [*self.words[i][:place], by, *self.words[i][place + 1 :]]
        return " ".join(w for w in words if w)

    def _fits(self, i: int, place: int, by: str) -> bool:
        """Whether a change is one at all, and within the length that the attack allows."""
        if by == self.words[i][place]:
            return False
        most, before = self.attack.length, len(self.original[i])
        if most is not None and abs(len(self._with(i, place, by)) - before) > most * before:
            self.now.trace["too_long"][i] += 1
            return False
        return True

    def _ranked(self, found: Proposed, scene: Scene) -> Proposed:
        """At most `tries` of each text's candidates, those that promise most where the model can tell."""
        tries = self.attack.tries
        many = [n for n, some in enumerate(found) if len(some) > tries]
        first = [some[:tries] for some in found]
        if not many or not self.model.model.capabilities >= SHOWS_WORDS:
            return first
        slopes = scene.slopes()
        words = sorted({c.by for n in many for c in found[n] if c.by})
        vectors = dict(zip(words, scene.vectors(words) if words else (), strict=True))
        nothing = torch.zeros(slopes.gradient.shape[-1])
        for n in many:
            at = torch.tensor([c.word for c in found[n]])
            promise = slopes.promise(n, at, torch.stack([vectors.get(c.by, nothing) for c in found[n]]))
            first[n] = [found[n][k] for k in promise.argsort(descending=True, stable=True)[:tries].tolist()]
        return first

    def _slopes(self, rows: list[int]) -> Slopes:
        """The slopes of the loss at the words of these texts: one backward pass for up to `ROWS` of them."""
        parts = []
        for k in range(0, len(rows), ROWS):
            at = torch.tensor(rows[k : k + ROWS])
            others = {k: c.take(at) for k, c in self.stage.codes.items() if k != self.m}
            texts = [self.texts[i] for i in rows[k : k + ROWS]]
            parts.append(slopes_of(self.model, self.m, texts, others, self.stage.predicted[at], self.stage.present(at)))
        more = [max(p.own.shape[1] for p in parts) - p.own.shape[1] for p in parts]
        gradient = torch.cat([pad(p.gradient, (0, 0, 0, k)) for p, k in zip(parts, more, strict=True)])
        return Slopes(gradient, torch.cat([pad(p.own, (0, k)) for p, k in zip(parts, more, strict=True)]))

    def _alike(self, tried: list[Try]) -> list[Try]:
        """What still says the same, by the attack's judge."""
        judge = self.attack.meaning
        if judge is None or not tried:
            return tried
        before, after = [self.original[t[0]] for t in tried], [t[-1] for t in tried]
        same = (judge.cosine(self.model, self.m, before, after) >= self.attack.alike).tolist()
        for (i, *_), alike in zip(tried, same, strict=True):
            self.now.trace["not_alike"][i] += not alike
        return [t for t, alike in zip(tried, same, strict=True) if alike]

    def _asked(self, sample: Tensor, texts: Sequence[str]) -> tuple[Tensor, Codes, Tensor]:
        """Logits of samples with other texts; the distinct texts' codes, and which one is each row's."""
        new, own = distinct_texts(texts)
        coded = self.model.encode(self.m, new)
        return self.stage.asked({self.m: coded}, sample, own), coded, own

    def _try(self, tried: list[Try]) -> set[int]:
        """Put every changed text to the model; of each sample keep the worst, if it raises the loss. Who was hurt."""
        if not tried:
            return set()
        now, sample = self.now, torch.tensor([t[0] for t in tried])
        logits, coded, own = self._asked(sample, [t[-1] for t in tried])
        loss, labels = loss_of(logits, self.stage.predicted[sample]), self.stage.predicted[sample]
        rows = highest(sample, torch.where(logits.argmax(dim=1) != labels, torch.inf, loss), now.loss)
        hurt, code = sample[rows], torch.arange(len(self.texts))
        code[hurt] = len(self.texts) + own[rows]
        now.logits[hurt], now.loss[hurt] = logits[rows], loss[rows]
        now.trace["words"][hurt] += 1
        for k in rows.tolist():
            i, place, by, text = tried[k]
            self.words[i][place], self.texts[i], self.left[i] = by, text, self.left[i] - 1
            self.open[i].discard(place)
        if len(hurt):
            self.stage.codes[self.m] = Codes.concat([self.stage.codes[self.m], coded]).take(code)
        return set(hurt.tolist())

    def _importance(self) -> list[list[int]]:
        """Each text's words that may change, those first whose absence raises the loss most."""
        masked = [(i, k) for i, some in enumerate(self.open) if self.left[i] > 0 for k in sorted(some)]
        turn: list[list[int]] = [[] for _ in self.texts]
        if masked:
            sample = torch.tensor([i for i, _ in masked])
            logits, _, _ = self._asked(sample, [self._with(i, k, self.attack.mask) for i, k in masked])
            loss = loss_of(logits, self.stage.predicted[sample]).tolist()
            for at in sorted(range(len(masked)), key=lambda at: -loss[at]):
                turn[masked[at][0]].append(masked[at][1])
        return turn
