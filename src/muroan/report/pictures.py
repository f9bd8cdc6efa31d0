"""Exhibits: pictures inside the page under a budget of bytes, words struck out or coloured, boxes drawn on top.

A picture is decoded and written anew, so that nothing but pixels reaches the page; only a PNG inside the run's
exhibits folder is ever read, whatever the findings document says.
"""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from muroan.finding import Panel
from muroan.report.figures import trimmed
from muroan.report.svg import tag
from muroan.report.text import one_line, visible

LARGEST_FILE, LARGEST_PICTURE = 32 * 2**20, 40_000_000
"""Bytes of a file, and pixels of a picture, beyond which it is not opened."""
SIDE, SMALL_SIDE, LARGE = 320, 224, 60_000
"""A picture is shown at most SIDE pixels wide or high; one still of LARGE bytes, SMALL_SIDE and as JPEG."""
BOXES, WORDS, LETTERS = 400, 300, 2000
"""Most boxes a picture, words and letters a text, that are shown."""
STEPS = 4


@dataclass
class Budget:
    """Bytes that pictures may still take on the page, and how many did not fit.

    Once nothing is left no file is read any more. encoded: what was read, by file.
    """

    left: int
    left_out: int = 0
    encoded: dict[str, tuple[str, str, tuple[int, int]]] = field(default_factory=dict)

    def spend(self, size: int) -> bool:
        if size > self.left:
            self.left_out += 1
            return False
        self.left -= size
        return True


def panel(found: Panel, folder: Path, budget: Budget) -> Markup:
    """The content of one panel; a picture that cannot be shown says why."""
    if found.kind != "image":
        return words(found) if found.kind == "text" else tag("p", visible_values(found.text or ""), class_="values")
    if found.file is None:
        return _absent("no picture was kept")
    left_out = f"left out to keep this page small: {one_line(found.file, 120)} in the run's exhibits"
    if not budget.spend(1):
        return _absent(left_out)
    try:
        if found.file not in budget.encoded:
            budget.encoded[found.file] = _encoded(found.file, folder)
        kind, data, size = budget.encoded[found.file]
    except (OSError, ValueError, SyntaxError) as error:
        return _absent(f"the picture could not be read: {_why(error)}")
    drawn = _picture(found, f"data:image/{kind};base64,{data}", size)
    return drawn if budget.spend(len(drawn)) else _absent(left_out)


def visible_values(text: str) -> Markup:
    """Values as text, line by line."""
    return Markup("<br>").join(tag("bdi", row) for row in visible(text, LETTERS).split("\n"))


def _absent(why: str) -> Markup:
    return tag("p", why[:1].upper() + why[1:] + ".", class_="absent")


def _why(error: Exception) -> str:
    """Why a picture is not there; an error of the system names paths of this machine, which stay here."""
    if isinstance(error, OSError):
        return (error.strerror or "it is no PNG").lower()
    return one_line(str(error), 120) if isinstance(error, _Refused) else "it is broken"


class _Refused(ValueError):
    """A picture that is not opened, for a reason of ours."""


def _encoded(file: str, folder: Path) -> tuple[str, str, tuple[int, int]]:
    """Format, base64 and original (width, height) of a picture in the folder."""
    from PIL import Image

    root = folder.resolve()
    path = (root / file).resolve()
    if not path.is_relative_to(root):
        raise _Refused("it lies outside of the run's exhibits")
    if path.stat().st_size > LARGEST_FILE:
        raise _Refused("the file is too large")
    with Image.open(path, formats=["PNG"]) as opened:
        if math.prod(opened.size) > LARGEST_PICTURE:
            raise _Refused(f"it has {opened.size[0]} × {opened.size[1]} pixels")
        size = opened.size
        pixels = opened.convert("L" if opened.mode in ("1", "L") else "RGB")
    pixels.info.clear()
    pixels.thumbnail((SIDE, SIDE))
    kind, data = "png", _bytes(pixels, "PNG", optimize=True)
    if len(data) > LARGE:
        pixels.thumbnail((SMALL_SIDE, SMALL_SIDE))
        kind, data = "jpeg", _bytes(pixels, "JPEG", quality=85)
    return kind, base64.b64encode(data).decode("ascii"), size


def _bytes(pixels: Any, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pixels.save(buffer, kind, **options)
    return buffer.getvalue()


def _picture(found: Panel, address: str, size: tuple[int, int]) -> Markup:
    width, height = size
    weights = found.weights if len(found.weights) == len(found.boxes) else []
    boxes: list[Markup] = []
    for i, (y, x, h, w) in enumerate(found.boxes[:BOXES]):
        at = {"x": str(x), "y": str(y), "width": str(max(w, 0)), "height": str(max(h, 0))}
        if weights:
            name = tag("title", f"weight {trimmed(weights[i])}")
            boxes.append(tag("rect", name, class_=f"weight {weight_class(weights[i])}", **at))
        else:  # dark below, light above: one of them shows on any picture
            boxes += [tag("rect", class_="box under", **at), tag("rect", class_="box", **at)]
    what = f"{one_line(found.label, 120)}, {width} × {height} pixels"
    if boxes:
        what += f", {len(found.boxes)} regions marked"
    image = tag("image", href=address, width=str(width), height=str(height))
    return tag(
        "svg",
        tag("title", what),
        image,
        *boxes,
        role="img",
        viewBox=f"0 0 {width} {height}",
        class_="picture" + (" tiny" if max(size) <= 160 else ""),
    )


def weight_class(weight: float) -> str:
    """One of 2 × STEPS + 1 classes: `for3` speaks for the decision, `against3` against it."""
    step = 0 if math.isnan(weight) else min(math.ceil(abs(weight) * STEPS - 0.5), STEPS)
    return "neither" if step <= 0 else f"{'for' if weight > 0 else 'against'}{step}"


def words(found: Panel) -> Markup:
    """Words, those that are marked struck out, those with weights coloured and underlined."""
    parts = (found.text or "").split()
    marked = set(found.marked)
    weights = found.weights if len(found.weights) == len(parts) else []
    shown = []
    for i, word in enumerate(parts[:WORDS]):
        content: Markup = tag("bdi", one_line(word, 80))
        if weights and (class_ := weight_class(weights[i])) != "neither":
            content = tag("span", content, class_=class_, title=f"weight {trimmed(weights[i])}")
        shown.append(tag("del", content) if i in marked else content)
    if len(parts) > WORDS:
        shown.append(tag("span", f"… and {len(parts) - WORDS} more words", class_="muted"))
    if not parts:
        shown.append(tag("span", "(no words)", class_="muted"))
    return tag("p", Markup(" ").join(shown), class_="words")
