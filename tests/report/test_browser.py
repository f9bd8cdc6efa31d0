"""The page in a real browser: what a reader sees, clicks and prints."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from muroan.auditing.result import Result

pytestmark = pytest.mark.browser
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine: the page is not looked at in a browser")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(html: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html, encoding="utf-8")
    return path.as_uri()


class Watched:
    """A page with everything that it complained about or asked for."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: self.complaints.append(f"{m.type}: {m.text}"))
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.on("dialog", lambda d: (self.complaints.append(f"dialog: {d.message}"), d.dismiss()))
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.failures: dict[str, str] = {}
        self.page.on("requestfailed", lambda r: self.failures.update({r.url: r.failure}))
        self.page.goto(address)

    def screenshot(self) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("L"), dtype=float)


@pytest.fixture
def watched(browser: Any, address: str) -> Iterator[Watched]:
    found = Watched(browser, address, viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield found
    found.context.close()


def test_it_opens_without_complaint_and_asks_for_nothing(watched: Watched, address: str) -> None:
    watched.page.wait_for_load_state("networkidle")
    assert watched.complaints == []
    assert [r for r in watched.requests if not r.startswith("data:")] == [address]
    assert watched.page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert watched.screenshot().std() > 10


def test_hostile_words_did_nothing(watched: Watched) -> None:
    assert watched.page.locator("script").count() == 2
    assert watched.page.locator("img, iframe, object, embed, [onerror], [onload]").count() == 0
    assert watched.page.locator("a:not([href^='#'])").count() == 0
    assert watched.page.get_by_text("<script>alert('muroan')</script>").count() > 0


def test_the_policy_stops_what_would_be_slipped_in(watched: Watched) -> None:
    watched.page.evaluate(
        """() => {
            const s = document.createElement('script'); s.textContent = 'window.slipped = 1'; document.body.append(s);
            const i = new Image(); i.src = 'https://evil.example/x.png'; document.body.append(i);
        }"""
    )
    assert watched.page.evaluate("window.slipped") is None
    assert any("Content Security Policy" in c for c in watched.complaints)
    watched.page.wait_for_timeout(200)
    assert watched.failures == {"https://evil.example/x.png": "csp"}


def test_the_theme_can_be_chosen(watched: Watched) -> None:
    light = watched.screenshot().mean()
    button = watched.page.locator("#theme")
    button.click()
    button.click()
    assert button.inner_text() == "Theme: dark"
    assert watched.screenshot().mean() < light / 3
    button.click()
    assert button.inner_text() == "Theme: automatic"
    assert watched.screenshot().mean() == pytest.approx(light, rel=0.01)
    assert watched.complaints == []


def test_dark_follows_the_system(browser: Any, address: str) -> None:
    dark = Watched(browser, address, color_scheme="dark")
    assert dark.screenshot().mean() < 80
    assert dark.complaints == []
    dark.context.close()


def test_details_open_and_close(watched: Watched) -> None:
    details = watched.page.locator("article details").first
    table = details.locator("table").first
    assert not table.is_visible()
    details.locator("summary").first.click()
    assert table.is_visible()
    watched.page.locator("#unfold").click()
    assert watched.page.locator("details:not([open])").count() == 0
    watched.page.locator("#unfold").click()
    assert watched.page.locator("details[open]").count() == 0


def test_a_verdict_can_be_singled_out(watched: Watched, result: Result) -> None:
    watched.page.locator("#filter").select_option("fail")
    rows = watched.page.locator("table.verdicts [data-verdict]:visible")
    assert rows.count() > 0
    assert {rows.nth(i).get_attribute("data-verdict") for i in range(rows.count())} == {"fail"}
    watched.page.locator("#filter").select_option("")
    assert watched.page.locator("#verdicts [data-verdict='pass']:visible").count() == result.summary.verdicts["pass"]  # type: ignore[index]


def test_the_figures_can_be_saved(watched: Watched, result: Result) -> None:
    with watched.page.expect_download() as waiting:
        watched.page.locator("#save").click()
    data = json.loads(Path(waiting.value.path()).read_text())
    assert data["model"] == result.model.name
    assert len(data["findings"]) > 10


def test_it_works_by_keyboard(watched: Watched) -> None:
    watched.page.keyboard.press("Tab")
    assert watched.page.evaluate("document.activeElement.className") == "skip"
    watched.page.keyboard.press("Enter")
    assert watched.page.evaluate("location.hash") == "#decision"
    summary = watched.page.locator("article details summary").first
    summary.focus()
    watched.page.keyboard.press("Enter")
    assert watched.page.locator("article details").first.get_attribute("open") is not None


def test_it_can_be_read_without_javascript(browser: Any, address: str) -> None:
    still = Watched(browser, address, java_script_enabled=False)
    page = still.page
    assert page.get_by_role("heading", name="limits are broken").is_visible()
    assert page.get_by_role("heading", name="What failed").is_visible()
    assert page.get_by_role("heading", name="How to reproduce").is_visible()
    assert not page.locator("#tools").is_visible()  # what needs a script is not offered
    folded = page.locator("details:not([open]):has(table)").first.element_handle()
    assert not folded.query_selector("table").is_visible()
    folded.query_selector("summary").click()
    assert folded.query_selector("table").is_visible()
    still.context.close()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_runs_out_of_the_page(browser: Any, address: str, width: int) -> None:
    found = Watched(browser, address, viewport={"width": width, "height": 800})
    assert found.page.evaluate("document.documentElement.scrollWidth") <= width
    size = found.page.evaluate(
        """() => Math.min(...[...document.querySelectorAll('.charts svg.chart')].map(
            s => 12 * s.getBoundingClientRect().width / s.viewBox.baseVal.width))"""
    )
    assert size >= 9.5  # letters of a chart, in pixels
    found.context.close()


def test_letters_fit_where_charts_gave_them_room(watched: Watched) -> None:
    """The width that charts reckon with is no less than what the browser needs."""
    beyond = watched.page.evaluate(
        """() => [...document.querySelectorAll('.charts svg.chart')].flatMap(s => [...s.querySelectorAll('text')]
            .filter(t => { const b = t.getBBox(); return b.x < -2 || b.x + b.width > s.viewBox.baseVal.width + 2; })
            .map(t => t.textContent))"""
    )
    assert beyond == []


def test_on_paper_everything_is_open_and_white(browser: Any, address: str) -> None:
    found = Watched(browser, address, color_scheme="dark")
    found.page.locator("#theme").click()
    found.page.emulate_media(media="print")
    assert found.page.locator("#tools").is_visible() is False
    assert found.screenshot().mean() > 200
    closed = found.page.locator("details:not([open]) table").first
    assert closed.evaluate("e => e.getBoundingClientRect().height") > 20
    paper = found.page.pdf(format="A4", prefer_css_page_size=True)
    assert paper.startswith(b"%PDF")
    assert paper.count(b"/Type /Page\n") + paper.count(b"/Type /Page ") + paper.count(b"/Type /Page/") >= 5
    found.context.close()


def test_names_for_those_who_do_not_see(watched: Watched) -> None:
    page = watched.page
    assert page.locator("svg[role=img]:not(:has(> title))").count() == 0
    assert page.locator("button:not([id]), [tabindex]:not([aria-label])").count() == 0
    assert page.locator("h1").count() == 1
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert all(b - a <= 1 for a, b in pairwise(levels))
