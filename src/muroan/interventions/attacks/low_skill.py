"""What anybody can do by hand to slip past a model: misspell, black out, blur, stick something on.

In the spirit of HateProof (WWW 2023, arXiv 2302.05703), whose nine perturbations of memes we know only by kind: this
list is ours. Each is one fixed strength, chosen beforehand as what a person makes of a text or picture that others are
still to read; none looks at the model. Those that may hide what the answer hangs on from a person too say so
(`hides`); their figures are shown and never judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from muroan.interventions.perturbations import Draws, of_kind
from muroan.interventions.perturbations.image import REFERENCE_SIZE
from muroan.modality import Image, Modality, Value

Change = Callable[[Value, Draws, Modality, float], Value]
"""(values of N samples, draws, modality, pixels per pixel of a picture of 224) -> changed values."""

EMOJI = "😀😂🔥💯🙏👍🎉✨"
LEET = str.maketrans("aeiostAEIOST", "431057431057")
BLOCK = "█"
SHORTEST = 4
"""Letters from which a word is misspelt or broken up: shorter ones are no longer read."""


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


def _some(texts: Sequence[str], draws: Draws, share: float, able: Callable[[str], bool]) -> list[list[int]]:
    """A share of each text's words that are able, at least one: their places."""
    most = max([1, *(len(t.split()) for t in texts)])
    order = draws.doubles("word", most)
    out = []
    for n, text in enumerate(texts):
        words = text.split()
        found = sorted((k for k, w in enumerate(words) if able(w)), key=order[n].__getitem__)
        out.append(found[: max(1, round(share * len(words)))])
    return out


def _long(word: str) -> bool:
    return sum(c.isalpha() for c in word) >= SHORTEST


def typos(texts: list[str], draws: Draws, modality: Modality, scale: float) -> list[str]:
    """Two inner letters of every third word change places."""
    out = []
    for text, places in zip(texts, _some(texts, draws, 1 / 3, _long), strict=True):
        words = text.split()
        for k in places:
            word = words[k]
            at = next(
                (i for i in range(1, len(word) - 2) if word[i : i + 2].isalpha() and word[i] != word[i + 1]), None
            )
            if at is not None:
                words[k] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        out.append(" ".join(words) if places else text)
    return out


def emoji(texts: list[str], draws: Draws, modality: Modality, scale: float) -> list[str]:
    """An emoji after every third word."""
    which = draws.doubles("emoji", max([1, *(len(t.split()) for t in texts)]))
    out = []
    for n, (text, places) in enumerate(zip(texts, _some(texts, draws, 1 / 3, bool), strict=True)):
        words = text.split()
        for k in places:
            words[k] += " " + EMOJI[int(which[n, k] * len(EMOJI))]
        out.append(" ".join(words) if places else text)
    return out


def leetspeak(texts: list[str], draws: Draws, modality: Modality, scale: float) -> list[str]:
    """Digits for letters, everywhere: "present" -> "pr353n7"."""
    return [t.translate(LEET) for t in texts]


def spaces(texts: list[str], draws: Draws, modality: Modality, scale: float) -> list[str]:
    """A space inside every third word of four letters or more."""
    out = []
    for text, places in zip(texts, _some(texts, draws, 1 / 3, _long), strict=True):
        words = text.split()
        for k in places:
            words[k] = words[k][: len(words[k]) // 2] + " " + words[k][len(words[k]) // 2 :]
        out.append(" ".join(words) if places else text)
    return out


def blackout(texts: list[str], draws: Draws, modality: Modality, scale: float) -> list[str]:
    """Every fifth word under a black bar."""
    out = []
    for text, places in zip(texts, _some(texts, draws, 1 / 5, bool), strict=True):
        words = text.split()
        for k in places:
            words[k] = BLOCK * len(words[k])
        out.append(" ".join(words) if places else text)
    return out


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


def scale_of(modality: Modality) -> float:
    """Lengths in pixels are chosen for pictures of 224; on a smaller one they shrink with it."""
    return min(modality.size) / REFERENCE_SIZE if isinstance(modality, Image) else 1.0
