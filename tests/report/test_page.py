"""The page: whole in one file, inert whatever stands in it, small whatever is found, and true to the document."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from muroan.auditing.result import Result, count
from muroan.finding import Finding, Verdict
from muroan.report import render
from muroan.report.page import HERE, PAGE_BYTES
from muroan.report.text import visible
from tests.report.example import HOSTILE, IMAGE, LINK, SCRIPT, example

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements with their attributes and texts; complains about what is not nested."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self) -> str:
        words = " ".join(t for tag, t in self.texts if tag not in ("script", "style"))
        return " ".join(words.replace("\u202f", "~").split()).replace("~", "\u202f")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_nested_and_whole(page: Page, html: str) -> None:
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_links_stay_on_the_page_and_arrive(page: Page) -> None:
    ids = {a["id"] for _, a in page.elements if "id" in a}
    targets = [a["href"] or "" for a in page.all("a")]
    assert targets
    assert all(t.startswith("#") and t[1:] in ids for t in targets)


def test_nothing_is_loaded(page: Page) -> None:
    for tag, attributes in page.elements:
        assert tag not in {
            "link",
            "iframe",
            "object",
            "embed",
            "base",
            "form",
            "img",
            "video",
            "audio",
            "source",
            "use",
        }
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in {"src", "srcset", "style", "action", "formaction", "xlink:href", "background", "poster"}
            if name == "href" and tag != "a":
                assert tag == "image"
                assert re.match(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+$", value or "")


def test_style_and_script_load_nothing() -> None:
    style, script = (HERE / "style.css").read_text(), (HERE / "page.js").read_text()
    assert not re.search(r"url\(|@import|https?:", style)
    assert not re.search(
        r"fetch\(|XMLHttpRequest|WebSocket|innerHTML|insertAdjacentHTML|eval\(|https?:|document\.write|import\(", script
    )


def test_the_policy_allows_just_what_is_there(page: Page, html: str) -> None:
    policy = next(a["content"] or "" for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert "unsafe" not in policy
    for what in ("style", "script"):
        (inside,) = re.findall(rf"<{what}>(.*?)</{what}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert rules[f"{what}-src"] == f"'sha256-{digest}'"


def test_hostile_words_are_words(page: Page, html: str) -> None:
    scripts = page.all("script")
    assert [s.get("type") for s in scripts] == ["application/json", None]
    assert SCRIPT not in html
    assert IMAGE not in html
    assert "<svg/onload" not in html
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]", html)
    text = page.text()
    for words in (SCRIPT, IMAGE, LINK):  # shown as what they are, not swallowed
        assert " ".join(words.split()) in text
    assert "{{ result.model }}" in text


def test_all_hostile_strings_reach_the_page(result: Result) -> None:
    notes = next(p.notes for p in result.probes if p.name == "plugin.hostile")
    assert notes == list(HOSTILE)


def test_embedded_data_cannot_be_left(html: str, result: Result) -> None:
    (inside,) = re.findall(r'<script type="application/json" id="figures">(.*?)</script>', html, re.DOTALL)
    assert not set("<>&") & set(inside)
    data = json.loads(inside)
    assert data["model"] == result.model.name
    headline = [f for f in result.findings if f.judged or f.limit]
    assert [f["verdict"] for f in data["findings"]] == [f.verdict.value for f in headline]


def rows(html: str, verdict: str) -> int:
    part = html[html.index(f'id="v-{verdict}"') :]
    part = part[: part.index("<h3", 5)]
    return len(re.findall(r"<tr data-verdict=", part))


def test_every_verdict_is_listed_where_it_belongs(html: str, result: Result) -> None:
    assert result.summary.of(Verdict.FAIL) > 0
    for verdict in (Verdict.FAIL, Verdict.UNDECIDED, Verdict.PASS, Verdict.MEASURED):
        assert rows(html, verdict.value) == result.summary.of(verdict)


def test_the_decision_is_told_in_words(page: Page, result: Result) -> None:
    s = result.summary
    text = page.text()
    n = s.of(Verdict.FAIL)
    assert f"{n} limits are broken" in text
    assert f"{n} limits broken, {s.of(Verdict.PASS)} kept, {s.of(Verdict.UNDECIDED)} undecided" in text


def test_figures_of_a_finding_are_on_the_page(page: Page) -> None:
    text = page.text().replace("\u202f", " ")
    assert "55.0 % [51.9, 58.0] n = 1024 in 256 clusters by image" in text
    assert "at most 30 %" in text
    assert "12.0 % [10.1, 14.2], n = 1024 in 256 clusters" in text  # its control
    assert "more samples like these would decide" in text


def test_what_was_not_answered_is_told_with_its_reason(page: Page) -> None:
    text = page.text()
    assert "needs gradients, which this model does not have" in text
    assert "ValueError: ⟨U+001B⟩[31mred" in text
    assert "Alignment: misalignment" in text
    assert text.count("not asked") == 2  # both places of alignment, on the map


def test_quarantine_is_capped_and_counted(page: Page, result: Result) -> None:
    assert len(result.quarantine) == 73
    text = page.text()
    assert "q-00049" in text
    assert "q-00050" not in text
    assert "23 more rows, all in" in text


def test_only_pictures_of_the_run_are_embedded(html: str, page: Page, exhibits: Path) -> None:
    text = page.text()
    assert "root:x:" not in html
    assert "it lies outside of the run's exhibits" in text
    assert str(exhibits) not in html
    assert len(page.all("image")) == 3


@pytest.mark.parametrize("kind", ["many details", "many pictures", "many findings", "much of everything"])
def test_the_page_stays_small(kind: str, tmp_path: Path) -> None:
    result = example(tmp_path)
    if kind in ("many details", "much of everything"):
        result = example(tmp_path, details=5000)
    if kind in ("many pictures", "much of everything"):
        result = example(tmp_path, details=5000, many_pictures=40)
    if kind in ("many findings", "much of everything"):
        probe = result.probes[0]
        many = [
            Finding(
                probe=probe.name,
                metric="success",
                title=f"number {i}",
                estimate=probe.findings[0].estimate,
                note="x" * 300,
            )
            for i in range(3000)
        ]
        probes = [probe.model_copy(update={"findings": many, "notes": ["x" * 5000] * 500})] * 12
        result = result.model_copy(update={"probes": [*result.probes, *probes]})
    page = render(result, tmp_path)
    assert len(page.encode()) < PAGE_BYTES
    Page(page)
    if kind == "many details":
        assert "worst first, of 5016" in page.replace("\u202f", "")
        assert "4956 more details, all in" in page
        part = page[page.index("worst first") :]
        shown = re.findall(r'<td class="number">([\d.]+)\u202f%</td>', part[: part.index("</details>")])
        values = [float(v) for v in shown]
        assert len(values) == 60
        assert values == sorted(values, reverse=True)
        assert values[0] == max(
            round(100 * f.estimate.value, 1) for f in result.probes[0].findings if f.estimate and not f.judged
        )
    if kind == "many pictures":
        assert "left out to keep this page small" in page


def test_what_failed_is_shown_however_much_was_measured(result: Result, tmp_path: Path) -> None:
    probe = result.probes[0]
    broken = probe.findings[0]
    measured = Finding(probe=probe.name, metric="success", title="measured", estimate=broken.estimate)
    crowded = probe.model_copy(update={"findings": [measured] * 300 + [broken]})
    probes = [crowded]
    changed = result.model_copy(
        update={"probes": probes, "summary": result.summary.model_copy(update={"verdicts": count(probes)})}
    )
    html = render(changed, tmp_path)
    assert rows(html, "fail") == 1
    assert rows(html, "measured") == 99
    assert "201 more findings, all in" in html
    assert "201 more in this list, all in" in html


def test_an_audit_without_anything_still_makes_a_page(result: Result, tmp_path: Path) -> None:
    bare = result.model_copy(
        update={
            "probes": [],
            "quarantine": [],
            "gate": None,
            "summary": result.summary.model_copy(update={"verdicts": {}, "exit_code": 0, "why": "no limit is broken"}),
        }
    )
    text = Page(render(bare, tmp_path)).text()
    assert "Measured only: no limit was set" in text
    assert "Every sample could be used everywhere." in text


def test_drawn_twice_it_is_the_same(result: Result, exhibits: Path, html: str) -> None:
    assert render(result, exhibits) == html


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def themes() -> dict[str, dict[str, str]]:
    style = (HERE / "style.css").read_text()
    blocks = re.findall(r"(:root[^{]*)\{([^}]*--paper[^}]*)\}", style)
    found = [dict(re.findall(r"--([\w]+): (#[0-9a-f]{3,6})", body)) for _, body in blocks]
    full = [{k: v if len(v) == 7 else "#" + "".join(2 * c for c in v[1:]) for k, v in f.items()} for f in found]
    return dict(zip(("light", "dark by system", "dark by choice", "print"), full, strict=True))


def test_both_ways_to_dark_are_the_same() -> None:
    assert themes()["dark by system"] == themes()["dark by choice"]
    assert set(themes()["dark by choice"]) == set(themes()["light"])


@pytest.mark.parametrize("theme", ["light", "dark by choice"])
def test_text_has_contrast(theme: str) -> None:
    c = themes()[theme]
    pairs = [(text, ground) for text in ("ink", "muted", "link") for ground in ("paper", "raised")]
    for text, ground in pairs:
        assert contrast(c[text], c[ground]) >= 4.5, (text, ground)
    for shade in ("h0", "h1", "h2", "h3", "h4", "h5", "h6", "b1", "b2", "b3", "b4"):
        assert contrast(c["ink"], c[shade]) >= 4.5, shade
    for mark in ("s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "sc"):
        assert contrast(c[mark], c["paper"]) >= 3, mark


@pytest.mark.parametrize("theme", ["light", "dark by choice"])
def test_badges_have_contrast(theme: str) -> None:
    style = (HERE / "style.css").read_text()
    block = re.findall(r":root[^{]*\{([^}]*--paper[^}]*)\}", style)[0 if theme == "light" else 2]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    for verdict in ("fail", "undecided", "pass", "measured"):
        for ground in (f"{verdict}-bg", "paper", "raised"):
            assert contrast(colours[verdict], colours[ground]) >= 4.5, (verdict, ground)
    assert contrast(colours["ink"], colours["measured-bg"]) >= 4.5


def test_visible_is_what_the_template_shows(page: Page) -> None:
    assert visible("\x1b[31m") in page.text()
