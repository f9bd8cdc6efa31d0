"""One document, one page: drawn once for all tests of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from muroan.auditing.result import Result
from muroan.report import render
from tests.report.example import example


@pytest.fixture(scope="session")
def exhibits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run") / "exhibits"


@pytest.fixture(scope="session")
def result(exhibits: Path) -> Result:
    return example(exhibits)


@pytest.fixture(scope="session")
def html(result: Result, exhibits: Path) -> str:
    return render(result, exhibits)
