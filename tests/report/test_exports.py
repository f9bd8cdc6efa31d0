"""Other outputs from the same document: JUnit, SARIF, the schema, the terminal. All tell the same verdicts."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from rich.console import Console

from muroan.auditing.result import Result, read
from muroan.errors import AskedWrongly
from muroan.finding import Verdict
from muroan.report import summary_table
from muroan.report.junit import document as junit
from muroan.report.sarif import text as sarif
from muroan.report.schema import PUBLISHED, text
from muroan.report.schema import document as schema
from tests.report.example import example

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def suites(result: Result) -> ET.Element:
    return ET.fromstring(junit(result))


def test_junit_failures_are_failures(suites: ET.Element, result: Result) -> None:
    s = result.summary
    assert len(suites.findall(".//failure")) == s.of(Verdict.FAIL) == int(suites.attrib["failures"]) > 0
    assert len(suites.findall(".//skipped")) == s.of(Verdict.UNDECIDED) + s.of(Verdict.NOT_APPLICABLE)
    assert len(suites.findall(".//error")) == s.of(Verdict.NOT_COMPLETED) == int(suites.attrib["errors"])
    cases = suites.findall(".//testcase")
    assert len(cases) == int(suites.attrib["tests"]) == sum(s.verdicts.values()) - s.of(Verdict.MEASURED)
    assert len([c for c in cases if c.find("failure") is c.find("skipped") is c.find("error") is None]) == s.of(
        Verdict.PASS
    )


def test_junit_counts_add_up(suites: ET.Element) -> None:
    for what in ("tests", "failures", "errors", "skipped"):
        assert int(suites.attrib[what]) == sum(int(s.attrib[what]) for s in suites)


def test_junit_says_the_figure(suites: ET.Element) -> None:
    message = suites.findall(".//failure")[0].attrib["message"].replace("\u202f", " ")
    assert "55.0 % [51.9, 58.0], n = 1024 in 256 clusters; limit at most 30 %" in message


def test_junit_undecided_is_an_error_where_undecided_does_not_pass(result: Result) -> None:
    strict = result.model_copy(update={"summary": result.summary.model_copy(update={"exit_code": 3})})
    suites = ET.fromstring(junit(strict))
    assert len(suites.findall(".//error[@type='undecided']")) == result.summary.of(Verdict.UNDECIDED)
    assert len(suites.findall(".//failure")) == result.summary.of(Verdict.FAIL)


@pytest.fixture(scope="module")
def log(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sarif(result), parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))
    return found


SARIF = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "$schema": {"type": "string", "format": "uri"},
        "runs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "required": ["tool", "results"],
                "properties": {
                    "tool": {
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "required": ["name"],
                                "properties": {
                                    "rules": {
                                        "uniqueItems": True,
                                        "items": {"required": ["id"], "properties": {"id": {"type": "string"}}},
                                    }
                                },
                            }
                        },
                    },
                    "invocations": {
                        "items": {
                            "required": ["executionSuccessful"],
                            "properties": {"exitCode": {"type": "integer"}, "executionSuccessful": {"type": "boolean"}},
                        }
                    },
                    "results": {
                        "items": {
                            "required": ["message"],
                            "properties": {
                                "kind": {"enum": ["notApplicable", "pass", "fail", "review", "open", "informational"]},
                                "level": {"enum": ["none", "note", "warning", "error"]},
                                "message": {"required": ["text"]},
                                "ruleIndex": {"type": "integer", "minimum": 0},
                            },
                            # "If kind has any value other than fail, level shall be none" (3.27.10)
                            "if": {"properties": {"kind": {"not": {"const": "fail"}}}},
                            "then": {"properties": {"level": {"const": "none"}}},
                        }
                    },
                },
            },
        },
    },
}
"""What the standard requires of what is written here, typed from its text."""


def test_sarif_has_the_shape_of_the_standard(log: dict[str, Any]) -> None:
    jsonschema.validate(log, SARIF)


def test_sarif_results_point_at_their_rules(log: dict[str, Any], result: Result) -> None:
    run = log["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert len({r["id"] for r in rules}) == len(rules) == sum(len(p.metrics) for p in result.probes)
    for found in run["results"]:
        assert rules[found["ruleIndex"]]["id"] == found["ruleId"]


def test_sarif_tells_the_verdicts(log: dict[str, Any], result: Result) -> None:
    found = log["runs"][0]["results"]
    s = result.summary
    assert sum(r["level"] == "error" for r in found) == s.of(Verdict.FAIL)
    assert sum(r["kind"] == "open" for r in found) == s.of(Verdict.UNDECIDED)
    assert sum(r["kind"] == "pass" for r in found) == s.of(Verdict.PASS)
    invocation = log["runs"][0]["invocations"][0]
    assert invocation["exitCode"] == s.exit_code
    assert not invocation["executionSuccessful"]
    assert len(invocation["toolExecutionNotifications"]) == s.of(Verdict.NOT_COMPLETED)


def test_the_document_keeps_its_published_shape(result: Result) -> None:
    validator = jsonschema.Draft202012Validator(schema())
    validator.check_schema(schema())
    written = json.loads(result.to_json())
    assert list(validator.iter_errors(written)) == []
    assert "Infinity" in result.to_json()
    written["probes"][0]["findings"][0]["verdict"] = "probably fine"
    assert list(validator.iter_errors(written))


def test_the_published_schema_is_current() -> None:
    assert (REPOSITORY / PUBLISHED).read_text(encoding="utf-8") == text(), "write it anew: muroan.report.schema.write"


def test_the_document_is_read_as_it_was_written(result: Result) -> None:
    again = read(result.to_json())
    assert again.to_json() == result.to_json()
    swapped = next(f for f in again.findings if f.title == "Swapped pairs are noticed")
    assert swapped.estimate is not None
    assert swapped.estimate.high == math.inf


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("not json", "not a findings document"),
        ("[]", "reads format 1"),
        ('{"version": {"findings": 99}}', "99"),
        ('{"version": {"findings": 1, "muroan": "0"}}', "created"),
    ],
)
def test_another_document_is_refused_by_name(text: str, told: str) -> None:
    with pytest.raises(AskedWrongly, match=told):
        read(text)


def printed(result: Result, width: int = 100) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False, color_system=None).print(summary_table(result))
    return out.getvalue()


def test_the_terminal_shows_verdicts_and_figures(result: Result) -> None:
    text = " ".join(printed(result, 160).replace("\u202f", " ").split())
    s = result.summary
    assert f"{s.of(Verdict.FAIL)} limits are broken" in text
    assert text.count("✕ broken") == s.of(Verdict.FAIL)
    assert text.count("✓ kept") == s.of(Verdict.PASS)
    assert text.count("? undecided") == s.of(Verdict.UNDECIDED)
    assert "55.0 %" in text
    assert "[51.9, 58.0]" in text
    assert "needs gradients" in text


def test_the_terminal_obeys_nobody(result: Result) -> None:
    text = printed(result)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "⟨U+001B⟩" in text
    colourful = io.StringIO()
    Console(file=colourful, width=100, force_terminal=True, color_system="standard").print(summary_table(result))
    assert "\x1b]8" not in colourful.getvalue()  # no link was made of anybody's words
    assert "\x07" not in colourful.getvalue()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_terminal_keeps_its_width(result: Result, width: int) -> None:
    assert max(len(line) for line in printed(result, width).splitlines()) <= width


def test_markup_of_the_terminal_is_shown_as_it_is(tmp_path: Path) -> None:
    result = example(tmp_path)
    probe = result.probes[0]
    finding = probe.findings[0].model_copy(update={"title": "[bold red]rich[/bold red]"})
    changed = probe.model_copy(update={"findings": [finding]})
    text = printed(result.model_copy(update={"probes": [changed]}))
    assert "[bold red]rich[/bold red]" in text
