"""Everything registered keeps the promises of its kind."""

from __future__ import annotations

import pytest

from muroan import checks, registry
from muroan.data.easy_vqa import easy_vqa
from muroan.models.easy_vqa.model import easy_vqa_model


def registered() -> list[checks.Check]:
    subjects = [m() if isinstance(m, type) else m for kind in registry.KINDS for m in registry.methods(kind).values()]
    return [check for subject in subjects for check in checks.of(subject)]


@pytest.mark.parametrize("check", registered(), ids=str)
def test_promise(check):
    check()


@pytest.mark.parametrize("check", checks.of(easy_vqa_model()), ids=str)
def test_shipped_model(check):
    check()


@pytest.mark.parametrize("check", checks.of(checks.PlantedModel()), ids=str)
def test_planted_model(check):
    check()


@pytest.mark.parametrize("check", checks.of(easy_vqa().audited) + checks.of(checks.planted().audited), ids=str)
def test_data(check):
    check()
