"""Strings to tokens, and which whitespace word a token is of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from muroan.errors import AskedWrongly
from muroan.models.hf.folder import Folder, known_as

NO_LIMIT = 10**6
"""Tokenizers without a length of their own say a number far above this one."""


class Tokens:
    """A folder's tokenizer, padded on the right.

    length: what the network takes; a longer text is cut off there, as the model's own pipeline cuts it, so words
    beyond it do not count and nothing says so. fixed: every text is padded to `length`.
    """

    def __init__(self, folder: Folder, length: int, *, fixed: bool = False) -> None:
        self.tokenizer: Any = _tokenizer(folder)
        self.tokenizer.padding_side = self.tokenizer.truncation_side = "right"
        if self.tokenizer.pad_token_id is None:
            if self.tokenizer.eos_token is None:
                raise AskedWrongly(f"hf:{folder.name}: its tokenizer has no token to pad with")
            self.tokenizer.pad_token = self.tokenizer.eos_token
        own = int(self.tokenizer.model_max_length)
        self.length = min(length, own) if own < NO_LIMIT else length
        self.fixed = fixed
        self.pad = int(self.tokenizer.pad_token_id)
        # The fast ones say where in the text a token comes from.
        self.shows_words = bool(self.tokenizer.is_fast)
        known = self.tokenizer.backend_tokenizer.to_str() if self.shows_words else str(self.tokenizer.get_vocab())
        self.digest = known_as(f"{known} {self.length} {fixed}")

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(ids [N, T], mask [N, T] true at real tokens)."""
        found = self._encoded(texts)
        return found["input_ids"], found["attention_mask"].bool()

    def with_words(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        """The same and words [N, T]: the whitespace word of each token, −1 at padding and special tokens."""
        found = self._encoded(texts, return_offsets_mapping=True)
        rows = []
        for text, spans in zip(texts, found["offset_mapping"].tolist(), strict=True):
            word = _word_of_characters(text)
            rows.append([max(word[start:end], default=-1) for start, end in spans])
        mask = found["attention_mask"].bool()
        words = torch.tensor(rows, dtype=torch.long).view(mask.shape)
        return found["input_ids"], mask, torch.where(mask, words, -1)

    def _encoded(self, texts: Sequence[str], **options: Any) -> Any:
        return self.tokenizer(
            list(texts),
            padding="max_length" if self.fixed else "longest",
            truncation=True,
            max_length=self.length,
            return_attention_mask=True,
            return_tensors="pt",
            **options,
        )


def _tokenizer(folder: Folder) -> Any:
    """The folder's own, or, where that is slow or needs a library that is not there, its `tokenizer.json`.

    A slow one (SigLIP's, of sentencepiece) does not say where in the text a token comes from.
    """
    try:
        own = folder.read("AutoTokenizer")
        if own.is_fast:
            return own
    except AskedWrongly as error:
        try:
            return folder.read("PreTrainedTokenizerFast")
        except AskedWrongly:
            raise error from error.__cause__
    try:
        return folder.read("PreTrainedTokenizerFast")
    except AskedWrongly:
        return own


def _word_of_characters(text: str) -> list[int]:
    """For each character the index of its whitespace word, −1 at whitespace."""
    words = [-1] * len(text)
    for number, word in enumerate(re.finditer(r"\S+", text)):
        words[word.start() : word.end()] = [number] * len(word.group())
    return words
