"""From the findings document to everything that people and other tools read. All from one `Result`.

Heavy things (templates, pictures, terminal) are imported when they are used, so that `report.text`, which the
command line needs for every message, costs nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from muroan.auditing.result import Result

__all__ = ["junit", "render", "sarif", "schema", "summary_table"]


def render(result: Result, exhibits_dir: Path) -> str:
    """The page: one HTML document that needs nothing else. exhibits_dir: where exhibits' pictures lie."""
    from muroan.report.page import page

    return page(result, exhibits_dir)


def junit(result: Result) -> str:
    """JUnit XML: a test case per judged finding."""
    from muroan.report.junit import document

    return document(result)


def sarif(result: Result) -> str:
    """SARIF 2.1.0: a rule per metric, a result per judged finding."""
    from muroan.report.sarif import text

    return text(result)


def summary_table(result: Result) -> RenderableType:
    """The verdicts for a terminal, as something that `rich` prints."""
    from muroan.report.terminal import table

    return table(result)


def schema() -> dict[str, object]:
    """The JSON schema of `findings.json`."""
    from muroan.report.schema import document

    return document()
