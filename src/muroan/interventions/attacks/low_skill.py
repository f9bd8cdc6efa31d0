"""What anybody can do by hand to slip past a model: misspell, black out, blur, stick something on.

In the spirit of HateProof (WWW 2023, arXiv 2302.05703), whose nine perturbations of memes we know only by kind: this
list is ours. Each is one fixed strength, chosen beforehand as what a person makes of a text or picture that others are
still to read; none looks at the model. Those that may hide what the answer hangs on from a person too say so
(`hides`); their figures are shown and never judged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from muroan.interventions.attacks.candidates import SHORTEST, swapped
from muroan.interventions.perturbations import Draws, of_kind
from muroan.interventions.perturbations.words import Own, of_each, some
from muroan.modality import Modality, Value

Change = Callable[[Value, Draws, Modality, float], Value]
"""(values of N samples, draws, modality, pixels per pixel of a picture of 224) -> changed values."""

EMOJI = "😀😂🔥💯🙏👍🎉✨"
LEET = str.maketrans("aeiostAEIOST", "431057431057")
BLOCK = "█"


@dataclass(frozen=True)
class Trick:
    """One thing that anybody can do to one kind of input. hides: why a person may lose the answer too, or ""."""

    name: str
    kind: str
    says: str
    change: Change
    hides: str = ""


def _known(kind: str, name: str, severity: int) -> Change:
    """A perturbation of the other table at one severity."""
    found = next(p for p in of_kind(kind) if p.name == name)
    return lambda x, draws, modality, scale: found(x, severity, draws, modality, scale=scale)


# Texts. What is drawn for a text depends on its key; a word is what whitespace separates.


def _of_words(share: float, able: Callable[[str], bool], edit: Callable[[str, float], str]) -> Change:
    """A share of each text's words that are able, at least one, edited: (word, a draw of its own) -> another."""

    def change(words: list[str], level: float, own: Own, modality: Modality) -> list[str] | None:
        chosen = some(words, able, own, max(1, round(level * len(words))))
        for k in chosen:
            words[k] = edit(words[k], own.each("emoji")[k])
        return words if chosen else None

    changed = of_each(change)
    return lambda texts, draws, modality, scale: changed(texts, share, draws, modality, scale)


def _long(word: str) -> bool:
    """Whether a word that is misspelt or broken up is still read."""
    return sum(c.isalpha() for c in word) >= SHORTEST


def leetspeak(texts: list[str], draws: Draws, modality: Modality, scale: float) -> list[str]:
    """Digits for letters, everywhere: "present" -> "pr353n7"."""
    return [t.translate(LEET) for t in texts]


typos = _of_words(1 / 3, _long, lambda word, u: swapped(word) or word)
"""Two inner letters of every third word change places."""
emoji = _of_words(1 / 3, bool, lambda word, u: f"{word} {EMOJI[int(u * len(EMOJI))]}")
"""An emoji after every third word."""
spaces = _of_words(1 / 3, _long, lambda word, u: f"{word[: len(word) // 2]} {word[len(word) // 2 :]}")
"""A space inside every third word of four letters or more."""
blackout = _of_words(1 / 5, bool, lambda word, u: BLOCK * len(word))
"""Every fifth word under a black bar."""


# Pictures [N, C, H, W] in [0, 1].


def newsprint(x: Tensor, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Black dots on every channel, larger where it is darker, in a grid of one in 40 of the shorter side (from 3)."""
    height, width = x.shape[-2:]
    cell = max(3, round(min(height, width) / 40))
    y, z = (((torch.arange(n) % cell) - (cell - 1) / 2) / cell for n in (height, width))
    far = y[:, None] ** 2 + z[None, :] ** 2
    one = far[:cell, :cell].flatten()
    # The share of a cell that lies nearer to its middle: a dot of that size reaches this far.
    nearer = ((one[:, None] > one + 1e-6).float() + (one[:, None] >= one - 1e-6).float()).mean(dim=1).view(cell, cell)
    rows, columns = torch.arange(height) % cell, torch.arange(width) % cell
    threshold = nearer[rows][:, columns] / 2  # half of those at the same distance count as nearer
    pad = (0, -width % cell, 0, -height % cell)
    tone = functional.avg_pool2d(functional.pad(x, pad, mode="replicate"), cell)
    dark = 1 - tone.repeat_interleave(cell, dim=-2).repeat_interleave(cell, dim=-1)[..., :height, :width]
    return (dark <= threshold).to(x.dtype)


def spread(x: Tensor, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """Every pixel is taken from a place up to 6 pixels of 224 away, at least one."""
    n, channels, height, width = x.shape
    reach = max(1.0, 6 * scale)
    move = ((2 * draws.uniform("spread", 2, height, width) - 1) * reach).round().long()
    y = (torch.arange(height)[:, None] + move[:, 0]).clamp(0, height - 1)
    z = (torch.arange(width)[None, :] + move[:, 1]).clamp(0, width - 1)
    return x.flatten(2).gather(2, (y * width + z).view(n, 1, -1).expand(-1, channels, -1)).view_as(x)


def sticker(x: Tensor, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """A yellow disc with two eyes on 3 % of the picture, anywhere."""
    channels, height, width = x.shape[1:]
    radius = (0.03 * height * width / torch.pi) ** 0.5
    at = draws.uniform("sticker", 2)
    y = torch.arange(height)[None, :, None] - (radius + at[:, 0] * (height - 1 - 2 * radius))[:, None, None]
    z = torch.arange(width)[None, None, :] - (radius + at[:, 1] * (width - 1 - 2 * radius))[:, None, None]
    disc = (y**2 + z**2 <= radius**2)[:, None]
    eyes = ((y + radius / 3) ** 2 + (z.abs() - radius / 3) ** 2 <= (radius / 6) ** 2)[:, None]
    yellow = x.new_tensor([1.0, 0.85, 0.1]) if channels == 3 else x.new_full((channels,), 0.85)
    return torch.where(eyes, torch.zeros(()), torch.where(disc, yellow.view(1, -1, 1, 1), x))


def bar(x: Tensor, draws: Draws, modality: Modality, scale: float) -> Tensor:
    """A grey bar of a tenth of the height right across, anywhere."""
    height = x.shape[-2]
    thick = max(1, round(0.1 * height))
    top = (draws.uniform("bar") * (height - thick + 1)).long()
    row = torch.arange(height)[None, :]
    under = (row >= top[:, None]) & (row < top[:, None] + thick)
    return torch.where(under[:, None, :, None], torch.full((), 0.5), x)


HIDDEN = "what is covered may be what the answer hangs on"

TRICKS: tuple[Trick, ...] = (
    Trick("typos", "text", "two letters of every third word swapped", typos),
    Trick("emoji", "text", "emoji between the words", emoji),
    Trick("leetspeak", "text", "digits for letters", leetspeak),
    Trick("spaces", "text", "spaces inside words", spaces),
    Trick("blackout", "text", "every fifth word blacked out", blackout, HIDDEN),
    Trick("blur", "image", "out of focus", _known("image", "defocus_blur", 1)),
    Trick("noise", "image", "noise", _known("image", "gaussian_noise", 2)),
    Trick("lighten", "image", "made brighter", _known("image", "brightness", 2)),
    Trick("newsprint", "image", "printed in dots", newsprint),
    Trick("spread", "image", "pixels spread", spread),
    Trick("sticker", "image", "a sticker on 3 % of it", sticker, HIDDEN),
    Trick("bar", "image", "a grey bar across a tenth of it", bar, HIDDEN),
)

PAIRS: tuple[tuple[str, str], ...] = (("typos", "blur"), ("emoji", "noise"), ("leetspeak", "newsprint"))
"""What is done to text and picture at once, where a model takes both."""


def named(name: str) -> Trick:
    """The trick of that name."""
    return next(t for t in TRICKS if t.name == name)
