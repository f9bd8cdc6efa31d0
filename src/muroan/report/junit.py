"""JUnit XML, so that a build server shows verdicts as tests.

A suite is a probe, a case is a finding with a limit. Broken is a failure. Undecided is skipped, unless the audit
ended with exit code 3 (undecided counts as not passed): then it is an error. A probe that was not completed is an
error; one that does not apply is skipped. Findings without a limit are no tests but properties of the suite.

Known trade-off (accepted): JUnit has no "undecided", and a server that shows only failures will not show it.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from muroan.auditing.result import ProbeResult, Result
from muroan.finding import Finding, Verdict
from muroan.report.text import visible
from muroan.report.words import explained, headlines

STRICT = 3


def document(result: Result) -> str:
    """The document's text, in UTF-8."""
    root = ET.Element("testsuites", name="muroan")
    for probe in result.probes:
        root.append(_suite(probe, result))
    for what in ("tests", "failures", "errors", "skipped"):
        root.set(what, str(sum(int(suite.get(what, "0")) for suite in root)))
    root.set("time", f"{sum(p.cost.seconds for p in result.probes):.3f}")
    ET.indent(root, " ")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(probe: ProbeResult, result: Result) -> ET.Element:
    suite = ET.Element("testsuite", name=visible(probe.name), timestamp=visible(result.created))
    suite.set("time", f"{probe.cost.seconds:.3f}")
    properties = ET.SubElement(suite, "properties")
    for name, value in (("question", probe.question), ("place", probe.place)):
        ET.SubElement(properties, "property", name=name, value=visible(value))
    judged = [f for f in headlines(probe) if f.verdict is not Verdict.MEASURED]
    for finding in headlines(probe):
        if finding.verdict is Verdict.MEASURED:
            ET.SubElement(properties, "property", name=visible(finding.key), value=visible(explained(probe, finding)))
    strict = result.summary.exit_code == STRICT
    cases = [_case(probe, finding, strict) for finding in judged]
    if probe.status != "completed" and not probe.findings:
        cases.append(_unanswered(probe))
    suite.extend(cases)
    kinds = [child.tag for case in cases for child in case]
    suite.set("tests", str(len(cases)))
    for what, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(what, str(kinds.count(tag)))
    return suite


def _case(probe: ProbeResult, finding: Finding, strict: bool) -> ET.Element:
    case = ET.Element("testcase", classname=visible(probe.name), name=visible(finding.key), time="0")
    words = visible(f"{finding.title}: {explained(probe, finding)}")
    tag = {
        Verdict.FAIL: "failure",
        Verdict.UNDECIDED: "error" if strict else "skipped",
        Verdict.NOT_APPLICABLE: "skipped",
        Verdict.NOT_COMPLETED: "error",
    }.get(finding.verdict)
    if tag is None:
        ET.SubElement(case, "system-out").text = words
        return case
    child = ET.SubElement(case, tag, message=visible(f"{finding.verdict.value}: {words}"))
    if tag != "skipped":
        child.set("type", finding.verdict.value)
        child.text = words
    return case


def _unanswered(probe: ProbeResult) -> ET.Element:
    case = ET.Element("testcase", classname=visible(probe.name), name=visible(probe.name), time="0")
    tag = "error" if probe.status == "not completed" else "skipped"
    ET.SubElement(case, tag, message=visible(f"{probe.status}: {probe.reason}"))
    return case
