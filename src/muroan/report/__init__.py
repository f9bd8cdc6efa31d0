"""From the findings document to everything that people and other tools read. All from one `Result`.

Heavy things (templates, pictures, terminal) are imported when they are used, so that `report.text`, which the
command line needs for every message, costs nothing. What only programs read stands in modules of its own (`junit`,
`sarif`, `schema`), which no function here may be named after: importing a module would replace it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from muroan.auditing.result import Result

__all__ = ["render", "summary_table"]


def render(result: Result, exhibits_dir: Path) -> str:
    """The page: one HTML document that needs nothing else. exhibits_dir: where exhibits' pictures lie."""
    from muroan.report.page import page

    return page(result, exhibits_dir)


def summary_table(result: Result) -> RenderableType:
    """The verdicts for a terminal, as something that `rich` prints."""
    from muroan.report.terminal import table

    return table(result)
