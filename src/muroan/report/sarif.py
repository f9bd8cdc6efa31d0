"""SARIF 2.1.0 (OASIS standard), so that code hosts and their dashboards show verdicts.

A rule is a metric, a result is a finding with a limit: broken has level error; undecided, kept and not applicable
have the kinds that the standard has for them (`open`, `pass`, `notApplicable`), with which it prescribes the level
`none`. A probe that was not completed is a notification of the run, and the run is not successful.

Known trade-off (accepted): some hosts show only results with a level, hence only what is broken.
"""

from __future__ import annotations

import json
from typing import Any

from muroan.auditing.result import ProbeResult, Result
from muroan.finding import Finding, Metric, Verdict
from muroan.report.text import visible
from muroan.report.words import explained, headlines

_KIND = {
    Verdict.FAIL: ("fail", "error"),
    Verdict.UNDECIDED: ("open", "none"),
    Verdict.PASS: ("pass", "none"),
    Verdict.NOT_APPLICABLE: ("notApplicable", "none"),
}
DOCUMENT = "findings.json"


def text(result: Result) -> str:
    """The document as JSON text; infinities, which JSON lacks, become words."""
    return json.dumps(log(result), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def log(result: Result) -> dict[str, Any]:
    """The document as plain data."""
    rules: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for probe in result.probes:
        known = {metric.name: len(rules) + i for i, metric in enumerate(probe.metrics)}
        rules += [_rule(probe, metric) for metric in probe.metrics]
        for finding in headlines(probe):
            if finding.verdict in _KIND:
                if finding.metric not in known:
                    known[finding.metric] = len(rules)
                    rules.append({"id": _id(probe, finding.metric)})
                results.append(_result(probe, finding, known[finding.metric]))
    run = {
        "tool": {"driver": {"name": "Muroan", "version": visible(result.version.muroan), "rules": rules}},
        "invocations": [_invocation(result)],
        "artifacts": [{"location": {"uri": DOCUMENT}, "mimeType": "application/json"}],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }


def _id(probe: ProbeResult, metric: str) -> str:
    return visible(f"{probe.name}/{metric}")


def _rule(probe: ProbeResult, metric: Metric) -> dict[str, Any]:
    return {
        "id": _id(probe, metric.name),
        "name": visible(metric.name),
        "shortDescription": {"text": visible(probe.question)},
        "fullDescription": {"text": visible(metric.says)},
        "help": {"text": visible(f"{metric.says} {probe.docs}".strip())},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": [visible(probe.pillar), visible(probe.place)], "better": metric.better},
    }


def _result(probe: ProbeResult, finding: Finding, rule: int) -> dict[str, Any]:
    kind, level = _KIND[finding.verdict]
    key = visible(finding.key)
    e = finding.estimate
    figures: dict[str, Any] = {"verdict": finding.verdict.value}
    if e is not None:
        figures |= {"value": e.value, "low": e.low, "high": e.high, "confidence": e.level, "n": e.n}
        figures |= {} if e.clusters is None else {"clusters": e.clusters}
    if finding.limit is not None:
        figures["limit"] = str(finding.limit)
    if finding.more_samples is not None:
        figures["moreSamples"] = finding.more_samples
    return {
        "ruleId": _id(probe, finding.metric),
        "ruleIndex": rule,
        "kind": kind,
        "level": level,
        "message": {"text": visible(f"{finding.title}: {explained(probe, finding)}")},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": DOCUMENT, "index": 0},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [{"fullyQualifiedName": key, "kind": "finding"}],
            }
        ],
        "partialFingerprints": {"findingKey/v1": key},
        "properties": {k: _number(v) for k, v in figures.items()},
    }


def _number(value: Any) -> Any:
    return str(value) if isinstance(value, float) and value - value != 0 else value


def _invocation(result: Result) -> dict[str, Any]:
    unfinished = [
        {
            "level": "error",
            "message": {"text": visible(f"{p.name}: {p.reason}")},
            "descriptor": {"id": "not completed"},
        }
        for p in result.probes
        if p.status == "not completed"
    ]
    return {
        "commandLine": visible(result.command),
        "exitCode": result.summary.exit_code,
        "exitCodeDescription": visible(result.summary.why),
        "executionSuccessful": not unfinished and result.summary.exit_code != 4,
        "toolExecutionNotifications": unfinished,
    }
