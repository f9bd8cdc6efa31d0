"""From estimates to conclusions: what was found, against which limit, with which verdict, shown how.

Everything here is plain data (pydantic), because a finding is what every output format is drawn from: the
page, `findings.json`, JUnit and SARIF show the same verdict, computed once, here.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from muroan.estimate import Estimate, adjust, more_samples, p_value


class Verdict(StrEnum):
    """What a finding says about its limit."""

    PASS = "pass"  # noqa: S105
    """The whole interval keeps the limit."""
    FAIL = "fail"
    """The whole interval breaks the limit."""
    UNDECIDED = "undecided"
    """The interval holds the limit, or the false-discovery control took the decision back."""
    MEASURED = "measured"
    """No limit was set: a figure, not a judgement."""
    NOT_APPLICABLE = "not applicable"
    """The model or the data lack what the method needs; `reason` says what."""
    NOT_COMPLETED = "not completed"
    """The method failed on this model; `reason` says how."""


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limit(_Plain):
    """The side that a safe model's value is on: at most `max`, or at least `min`; one of them, a finite number."""

    model_config = ConfigDict(allow_inf_nan=False)
    max: float | None = None
    min: float | None = None
    source: Literal["gate", "default"] = "default"

    @model_validator(mode="after")
    def _one(self) -> Limit:
        if (self.max is None) == (self.min is None):
            raise ValueError("a limit has either max or min")
        return self

    @property
    def value(self) -> float:
        bound = self.max if self.max is not None else self.min
        assert bound is not None
        return bound

    def keeps(self, estimate: Estimate) -> bool:
        """Whether the whole interval is on the safe side."""
        return estimate.high <= self.value if self.max is not None else estimate.low >= self.value

    def breaks(self, estimate: Estimate) -> bool:
        """Whether the whole interval is beyond the limit."""
        return estimate.low > self.value if self.max is not None else estimate.high < self.value

    def __str__(self) -> str:
        return f"at most {self.max:g}" if self.max is not None else f"at least {self.min:g}"


class Metric(_Plain):
    """A figure that a probe promises. `says` is for somebody who decides: what it is, what 0 and 1 mean.

    limit: the default limit, on the side that `better` implies; None where no default would be honest.
    """

    name: str
    says: str
    better: Literal["lower", "higher"] = "lower"
    limit: float | None = None
    unit: Literal["share", "points", "nats", "accuracy", "number"] = "share"

    def limited(self, value: float, source: Literal["gate", "default"] = "default") -> Limit:
        if self.better == "lower":
            return Limit(max=value, source=source)
        return Limit(min=value, source=source)


class Finding(_Plain):
    """A concluded measure.

    judged: whether the metric's limit applies to this finding, or it is a detail of one that is judged.
    group: "name=value" of a subgroup, or a group's name where the finding compares its values; condition: what
    was done to the inputs ("without image"). controls: estimates that say what the value means.
    """

    probe: str
    metric: str
    title: str
    estimate: Estimate | None = None
    modality: str | None = None
    group: str | None = None
    condition: str | None = None
    judged: bool = True
    controls: dict[str, Estimate] = Field(default_factory=dict)
    note: str = ""
    limit: Limit | None = None
    verdict: Verdict = Verdict.MEASURED
    adjusted_p: float | None = None
    more_samples: int | None = None
    reason: str = ""

    @property
    def key(self) -> str:
        """`probe/metric[modality=..,group=..,condition=..]`: how gates and comparisons name this finding."""
        named = [("modality", self.modality), ("group", self.group), ("condition", self.condition)]
        inside = ",".join(f"{n}={v}" for n, v in named if v)
        return f"{self.probe}/{self.metric}" + (f"[{inside}]" if inside else "")


def judge(findings: Sequence[Finding], false_discoveries: float = 0.05) -> list[Finding]:
    """The same findings with verdicts.

    A verdict needs the whole interval on one side of the limit. Many verdicts in one audit would be wrong
    somewhere by chance, so decisions also survive Benjamini-Hochberg at `false_discoveries` over all limits of
    the audit; those that do not become undecided.
    """
    limited = [
        (i, f.estimate, f.limit) for i, f in enumerate(findings) if f.limit is not None and f.estimate is not None
    ]
    adjusted = adjust([p_value(e, lim.value) for _, e, lim in limited])
    out = list(findings)
    for (i, estimate, limit), p in zip(limited, adjusted, strict=True):
        verdict = Verdict.UNDECIDED
        if p <= false_discoveries or estimate.low == estimate.high:
            if limit.keeps(estimate):
                verdict = Verdict.PASS
            elif limit.breaks(estimate):
                verdict = Verdict.FAIL
        more = more_samples(estimate, limit.value) if verdict is Verdict.UNDECIDED else None
        out[i] = findings[i].model_copy(update={"verdict": verdict, "adjusted_p": p, "more_samples": more})
    return out


# What a report draws. Numbers only: the report decides what they look like.


class Line(_Plain):
    """One line of a chart: y over x, with an optional band and counts."""

    label: str
    x: list[float]
    y: list[float | None]
    low: list[float | None] | None = None
    high: list[float | None] | None = None
    n: list[int] | None = None
    control: bool = False

    @staticmethod
    def of(label: str, x: Sequence[float], estimates: Sequence[Estimate], *, control: bool = False) -> Line:
        """A line through estimates, with their intervals as its band."""
        return Line(
            label=label,
            x=[float(at) for at in x],
            y=[e.value for e in estimates],
            low=[e.low for e in estimates],
            high=[e.high for e in estimates],
            n=[e.n for e in estimates],
            control=control,
        )


class LineChart(_Plain):
    """Lines over a common axis. diagonal: draw y = x, as in a reliability diagram."""

    kind: Literal["line"] = "line"
    title: str
    x_label: str
    y_label: str
    lines: list[Line]
    diagonal: bool = False
    log_x: bool = False
    y_range: tuple[float, float] | None = None

    @staticmethod
    def of_shares(title: str, x_label: str, y_label: str, lines: Sequence[Line]) -> LineChart:
        """Lines of what lies between 0 and 1."""
        return LineChart(title=title, x_label=x_label, y_label=y_label, lines=list(lines), y_range=(0, 1))


class Bar(_Plain):
    """One bar with its interval; `of` names the series it belongs to where bars come in groups."""

    label: str
    estimate: Estimate
    of: str = ""
    control: bool = False


class BarChart(_Plain):
    """Bars with intervals. limit: a line across them."""

    kind: Literal["bars"] = "bars"
    title: str
    y_label: str
    bars: list[Bar]
    limit: float | None = None
    y_range: tuple[float, float] | None = None

    @staticmethod
    def of_shares(title: str, y_label: str, bars: Sequence[Bar]) -> BarChart:
        """Bars of what lies between 0 and 1."""
        return BarChart(title=title, y_label=y_label, bars=list(bars), y_range=(0, 1))


class MatrixChart(_Plain):
    """A coloured matrix; None is an empty cell."""

    kind: Literal["matrix"] = "matrix"
    title: str
    rows: list[str]
    columns: list[str]
    values: list[list[float | None]]
    better: Literal["lower", "higher"] = "lower"
    value_range: tuple[float, float] | None = None


Cell = str | float | int | None


class TableChart(_Plain):
    """Words and numbers that are best read as a table."""

    kind: Literal["table"] = "table"
    title: str
    columns: list[str]
    rows: list[list[Cell]]


Chart = Annotated[LineChart | BarChart | MatrixChart | TableChart, Field(discriminator="kind")]


class Panel(_Plain):
    """One view of one input. file: a picture in the run's exhibits; text: words (never interpreted).

    boxes: regions (y, x, h, w) in pixels to outline; weights: one number a box or a word, −1 to 1, to colour;
    marked: indices of words to strike out.
    """

    label: str
    kind: Literal["image", "text", "values"]
    file: str | None = None
    size: tuple[int, int] | None = None
    text: str | None = None
    boxes: list[tuple[int, int, int, int]] = Field(default_factory=list)
    weights: list[float] = Field(default_factory=list)
    marked: list[int] = Field(default_factory=list)


class Exhibit(_Plain):
    """Something worth looking at: one sample, before and after. rank: lower is shown first."""

    probe: str
    sample: str
    title: str
    caption: str = ""
    panels: list[Panel]
    rank: float = 0.0


class Conclusion(_Plain):
    """What a probe concludes from its evidence."""

    findings: list[Finding]
    charts: list[Chart] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
