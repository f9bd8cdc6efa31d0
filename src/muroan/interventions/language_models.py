"""Language models that a user names as "hf:folder": words that fit a place, codes of sentences, sentences rewritten.

Only folders on this machine are read, and weights only as safetensors. The passes of a judge, a proposer or a rewriter
are not the audited model's, so its meter does not count them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from muroan.errors import AskedWrongly

ROWS = 128
"""Texts put to a language model at once."""


def _folder(name: str) -> Path:
    scheme, colon, rest = name.partition(":")
    folder = Path(rest)
    if scheme != "hf" or not colon or not (folder / "config.json").is_file():
        raise AskedWrongly(f"{name!r} names no language model; give hf:folder, a folder here that holds config.json")
    return folder.absolute()


@lru_cache(maxsize=4)
def _loaded(folder: Path, kind: str) -> tuple[Any, Any]:
    try:
        import transformers
    except ImportError as error:
        raise AskedWrongly("language models need the package transformers: pip install 'muroan[hf]'") from error
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = getattr(transformers, kind).from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise AskedWrongly(f"{folder} cannot be opened as a language model ({kind}): {error}") from error
    return tokenizer, model.eval()


def _put(tokenizer: Any, texts: Sequence[str]) -> Any:
    return tokenizer(
        [t.split() for t in texts], is_split_into_words=True, padding=True, truncation=True, return_tensors="pt"
    )


def sentence_encoder(name: str) -> Callable[[Sequence[str]], Tensor]:
    """`sentence_codes` of a folder; one that is none is refused here, not at the first text."""
    _folder(name)
    return partial(sentence_codes, name)


@torch.no_grad()
def sentence_codes(name: str, texts: Sequence[str]) -> Tensor:
    """The mean of the last layer over each text's tokens [N, D]."""
    tokenizer, model = _loaded(_folder(name), "AutoModel")
    out = []
    for k in range(0, len(texts), ROWS):
        given = _put(tokenizer, texts[k : k + ROWS])
        hidden = model(**given).last_hidden_state
        weight = given["attention_mask"][..., None].to(hidden.dtype)
        out.append((hidden * weight).sum(dim=1) / weight.sum(dim=1))
    return torch.cat(out)


@torch.no_grad()
def fillers(name: str, texts: Sequence[str], open_: Sequence[Set[int]], top: int) -> list[list[list[str]]]:
    """For each text and word (those in `open_`) the `top` words that a masked language model finds likeliest there.

    BERT-Attack's recipe: the text is shown whole, so that the model knows the word and proposes what is like it. A
    word of several pieces is masked as one, since its pieces have no likely words of their own.
    """
    tokenizer, model = _loaded(_folder(name), "AutoModelForMaskedLM")
    if tokenizer.mask_token is None:
        raise AskedWrongly(f"{name} has no mask token, so it is no masked language model")
    out: list[list[list[str]]] = [[[] for _ in t.split()] for t in texts]
    asked: list[tuple[int, int | None, str]] = [(n, None, t) for n, t in enumerate(texts) if t.split()]
    for n, text in enumerate(texts):
        words = text.split()
        pieces = tokenizer(words, add_special_tokens=False)["input_ids"] if words else []
        for k, ids in enumerate(pieces):
            if len(ids) != 1 and k in open_[n]:
                asked.append((n, k, " ".join([*words[:k], tokenizer.mask_token, *words[k + 1 :]])))
    for start in range(0, len(asked), ROWS):
        some = asked[start : start + ROWS]
        given = _put(tokenizer, [t for _, _, t in some])
        # Room for pieces of words and special tokens among the best.
        best = model(**given).logits.topk(min(4 * top + 8, model.config.vocab_size), dim=-1).indices
        for row, (n, only, _) in enumerate(some):
            places: dict[int, list[int]] = {}
            for token, word in enumerate(given.word_ids(row)):
                if word is not None:
                    places.setdefault(word, []).append(token)
            for word, tokens in places.items():
                if (only is None and len(tokens) == 1) or word == only:
                    out[n][word] = _words(tokenizer, best[row, tokens[0]].tolist(), top)
    return out


def _words(tokenizer: Any, ids: Sequence[int], top: int) -> list[str]:
    """The first `top` of these tokens that are words of their own."""
    found = []
    for i, token in zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True):
        text = tokenizer.decode([i]).strip()
        if i not in tokenizer.all_special_ids and not token.startswith("##") and text.isalnum():
            found.append(text)
    return found[:top]


LONGER, MORE = 2, 16
"""A text of n tokens is rewritten in LONGER · n + MORE tokens at most."""


def rewriter(name: str) -> Callable[[Sequence[str]], list[str]]:
    """Texts -> texts by a sequence-to-sequence model: "hf:folder", or "hf:folder?prompt=in French: {}".

    prompt: what the model was trained to be asked, with {} for the text.
    """
    place, mark, said = name.partition("?")
    key, _, prompt = said.partition("=")
    if mark and (key != "prompt" or "{}" not in prompt):
        raise AskedWrongly(
            f"{name!r}: after ? comes prompt= with {{}} for the text, such as {place}?prompt=in French: {{}}"
        )
    return partial(_rewritten, _folder(place), prompt or "{}")


@torch.no_grad()
def _rewritten(folder: Path, prompt: str, texts: Sequence[str]) -> list[str]:
    """The likeliest token after the other, so that a text is rewritten alike alone and in any batch."""
    tokenizer, model = _loaded(folder, "AutoModelForSeq2SeqLM")
    asked = [prompt.replace("{}", t) for t in texts]
    length = [len(ids) for ids in tokenizer(asked, truncation=True)["input_ids"]] if asked else []
    out = [""] * len(asked)
    # Neighbours in length, so that little is padded.
    order = sorted(range(len(asked)), key=length.__getitem__)
    for k in range(0, len(order), ROWS):
        some = order[k : k + ROWS]
        given = tokenizer([asked[i] for i in some], padding=True, truncation=True, return_tensors="pt")
        room = [LONGER * length[i] + MORE for i in some]
        ids = model.generate(
            input_ids=given["input_ids"],
            attention_mask=given["attention_mask"],
            num_beams=1,
            do_sample=False,
            max_new_tokens=max(room),
        )
        # A text's own room, not that of the longest beside it; the first token is the decoder's start.
        cut = [row[: 1 + r] for row, r in zip(ids.tolist(), room, strict=True)]
        for i, said in zip(some, tokenizer.batch_decode(cut, skip_special_tokens=True), strict=True):
            out[i] = said.strip()
    return out
