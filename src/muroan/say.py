"""A probe's findings as they are made: its name, and what stands in every finding, is filled in once, here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from muroan.estimate import Estimate
from muroan.finding import Finding, Verdict
from muroan.rows import SMALLEST_GROUP, Rows


@dataclass
class Say:
    """Findings of one probe, in the order in which they are said.

    say = Say(self.name)
    say("success", "Right answers turned", rows.share("success"), controls=...)
    say.detail("success", "Right answers turned, site north", ..., group="site=north")
    return Conclusion(findings=say.findings)
    """

    probe: str
    findings: list[Finding] = field(default_factory=list)
    always: Mapping[str, Any] = field(default_factory=dict)
    """What stands in every finding that is said from here: a modality, say."""

    def about(self, **always: Any) -> Say:
        """The same findings, to which what is said from here adds; `always` stands in each of those."""
        return Say(self.probe, self.findings, {**self.always, **always})

    def __call__(
        self, metric: str, title: str, estimate: Estimate | None, *, reason: str = "", **more: Any
    ) -> Estimate | None:
        """A finding that a limit applies to, if there is one; without an estimate "not applicable", and why.

        more: as in `Finding` (modality, group, condition, controls, note, judged). Returns the estimate.
        """
        if estimate is None:
            more |= {"reason": reason, "verdict": Verdict.NOT_APPLICABLE}
        said = {**self.always, **more}
        self.findings.append(Finding(probe=self.probe, metric=metric, title=title, estimate=estimate, **said))
        return estimate

    def detail(self, metric: str, title: str, estimate: Estimate | None, **more: Any) -> Estimate | None:
        """A finding that explains one that is judged, and is not judged itself."""
        return self(metric, title, estimate, judged=False, **more)

    def nothing(self, metrics: Iterable[str], title: str, reason: str) -> None:
        """That none of these could be measured, and why."""
        for metric in metrics:
            self(metric, title, None, reason=reason)

    def by_group(
        self,
        metric: str,
        title: str,
        rows: Rows,
        figure: Callable[[Rows], Estimate],
        *,
        least: int = SMALLEST_GROUP,
        **more: Any,
    ) -> None:
        """The same figure for each value of each group, as details titled "<title>, site north"."""
        for name, value, some in rows.groups(least):
            self.detail(metric, f"{title}, {name} {value}", figure(some), group=f"{name}={value}", **more)

    @property
    def details_last(self) -> list[Finding]:
        """What is about all samples first, what is about an input, a group or a condition after it."""
        return sorted(self.findings, key=lambda f: any((f.modality, f.group, f.condition)))
