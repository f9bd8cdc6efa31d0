"""Exhibits: pixels alone reach the page, from the run's folder alone, under a budget."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from muroan.finding import Panel
from muroan.report.pictures import SIDE, Budget, panel, weight_class


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "exhibits"
    found.mkdir()
    return found


def image(file: str, **rest: object) -> Panel:
    return Panel.model_validate({"label": "a label", "kind": "image", "file": file, **rest})


def decoded(html: str) -> Image.Image:
    (data,) = re.findall(r"base64,([A-Za-z0-9+/=]+)", html)
    return Image.open(io.BytesIO(base64.b64decode(data)))


def save(path: Path, pixels: np.ndarray, **rest: object) -> None:
    Image.fromarray(pixels).save(path, **rest)  # type: ignore[arg-type]


def test_pixels_arrive_unchanged_and_nothing_else_does(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    info = PngImagePlugin.PngInfo()
    info.add_text("secret", "a path of this machine")
    save(folder / "a.png", pixels, pnginfo=info)
    found = decoded(str(panel(image("a.png"), folder, Budget(10_000))))
    assert (np.asarray(found) == pixels).all()
    assert found.info == {}


def test_a_large_picture_is_shown_smaller(folder: Path) -> None:
    save(folder / "a.png", np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8))
    html = str(panel(image("a.png"), folder, Budget(10**6)))
    assert max(decoded(html).size) <= SIDE
    assert 'viewBox="0 0 1200 900"' in html  # boxes are given in the picture's own pixels


@pytest.mark.parametrize("file", ["../secret.png", "/etc/passwd", "sub/../../secret.png", "link.png", "", "."])
def test_nothing_outside_of_the_folder_is_read(folder: Path, file: str) -> None:
    save(folder.parent / "secret.png", np.zeros((4, 4, 3), np.uint8))
    os.symlink(folder.parent / "secret.png", folder / "link.png")
    html = str(panel(image(file), folder, Budget(10**6)))
    assert "base64" not in html
    assert 'class="absent"' in html
    assert str(folder.parent) not in html


def test_what_is_no_png_is_not_opened(folder: Path) -> None:
    (folder / "a.png").write_text('<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>')
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / "b.png", "GIF")
    (folder / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 50)
    for name in ("a.png", "b.png", "c.png"):
        html = str(panel(image(name), folder, Budget(10**6)))
        assert "base64" not in html
        assert str(folder) not in html


def test_a_budget_is_kept_and_what_is_left_out_is_told(folder: Path) -> None:
    save(folder / "a.png", np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    budget = Budget(10_000)
    shown = [str(panel(image("a.png"), folder, budget)) for _ in range(5)]
    embedded = sum(len(m) for html in shown for m in re.findall(r"base64,([A-Za-z0-9+/=]+)", html))
    assert 0 < embedded <= 10_000
    assert budget.left_out == sum("Left out" in html for html in shown) > 0


def test_boxes_are_where_they_belong(folder: Path) -> None:
    save(folder / "a.png", np.zeros((20, 40, 3), np.uint8))
    html = str(panel(image("a.png", boxes=[(3, 5, 7, 11)]), folder, Budget(10**6)))
    assert html.count('x="5" y="3" width="11" height="7"') == 2


@pytest.mark.parametrize(
    ("weight", "class_"),
    [(0.0, "neither"), (1.0, "for4"), (-1.0, "against4"), (0.3, "for1"), (-0.5, "against2"), (9.0, "for4")],
)
def test_weights_have_classes(weight: float, class_: str) -> None:
    assert weight_class(weight) == class_


def test_words_are_struck_out_and_coloured(folder: Path) -> None:
    found = Panel(label="q", kind="text", text="is it <b>red</b>", marked=[1], weights=[1.0, 0.0, -1.0])
    html = str(panel(found, folder, Budget(0)))
    assert "<del><bdi>it</bdi></del>" in html
    assert '<span class="for4" title="weight 1"><bdi>is</bdi></span>' in html
    assert "&lt;b&gt;red&lt;/b&gt;" in html
    assert "<b>" not in html
