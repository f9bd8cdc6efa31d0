"""A gate: limits per metric, from a file that a reviewer can read.

    limits:
      robustness.decoupling/success: 0.5                     # on the side that the metric's better value implies
      monitoring.calibration/ece: {max: 0.05}
      "monitoring.calibration/ece[group=colour=*]": {max: 0.1}   # details, by pattern
      robustness.corruptions/mmi: none                        # no limit, also not the default one
    strict: false                                              # undecided counts as not passed (exit code 3)
    false_discoveries: 0.05

A name without brackets sets the limit of the metric's judged findings; one with brackets is matched, as a shell
pattern, against the keys of all findings, details included. A name that no probe promises is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from muroan import plain_yaml
from muroan.errors import AskedWrongly, nearest
from muroan.finding import Finding, Limit, Metric
from muroan.probe import Probe


class Bound(BaseModel):
    """One limit as a gate file writes it: a number, {max: x}, {min: x}, or none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    max: float | None = None
    min: float | None = None
    value: float | None = None

    @model_validator(mode="after")
    def _one(self) -> Bound:
        if sum(v is not None for v in (self.max, self.min, self.value)) > 1:
            raise ValueError("give one of max and min, not both")
        return self


def _bound(raw: Any) -> Any:
    if raw is None or raw == "none":
        return {}
    return {"value": raw} if isinstance(raw, int | float) and not isinstance(raw, bool) else raw


class Gate(BaseModel):
    """Limits, and how strictly they are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    limits: dict[str, Annotated[Bound, BeforeValidator(_bound)]] = Field(default_factory=dict)
    strict: bool = False
    false_discoveries: Annotated[float, Field(gt=0, lt=1)] = 0.05
    defaults: Literal["apply", "ignore"] = "apply"
    """Whether the metrics' own default limits hold where the gate says nothing."""

    def check(self, probes: Iterable[type[Probe] | Probe]) -> None:
        """Raises `AskedWrongly` for a limit on a metric that none of these probes promises."""
        known = {f"{p.name}/{m.name}" for p in probes for m in p.metrics}
        for name in self.limits:
            bare = name.split("[", 1)[0]
            if bare not in known:
                raise AskedWrongly(f"the gate names {bare!r}, which no probe measures. {nearest(bare, known)}")

    def apply(self, findings: Sequence[Finding], metrics: dict[str, Metric]) -> list[Finding]:
        """The findings with their limits; metrics: "probe/metric" -> what the probe promised."""
        return [self._limited(f, metrics.get(f"{f.probe}/{f.metric}")) for f in findings]

    def _limited(self, finding: Finding, metric: Metric | None) -> Finding:
        if finding.estimate is None or metric is None:
            return finding
        limit = None
        if finding.judged and metric.limit is not None and self.defaults == "apply":
            limit = metric.limited(metric.limit)
        for name, bound in self.limits.items():
            bare = name.split("[", 1)[0]
            if bare != f"{finding.probe}/{finding.metric}":
                continue
            if finding.judged if bare == name else _matches(finding.key, name):
                limit = _limit(bound, metric)
        return finding.model_copy(update={"limit": limit})


def _matches(key: str, pattern: str) -> bool:
    # "[" opens a character class in shell patterns; here it is a bracket that means itself.
    return fnmatchcase(key, re.sub(r"\[", "[[]", pattern))


def _limit(bound: Bound, metric: Metric) -> Limit | None:
    if bound.value is not None:
        return metric.limited(bound.value, "gate")
    if bound.max is None and bound.min is None:
        return None
    return Limit(max=bound.max, min=bound.min, source="gate")


def read_gate(path: str | Path) -> Gate:
    """A gate from a YAML file; raises `AskedWrongly` that names the file, the entry and what is wrong with it."""
    try:
        return Gate.model_validate(plain_yaml.read(Path(path)))
    except ValidationError as error:
        raise AskedWrongly(f"the gate {path}: {complaint(error, Gate)}") from error


def complaint(error: ValidationError, model: type[BaseModel]) -> str:
    """The first complaint of a validation, with the nearest name where a name is unknown."""
    what = error.errors()[0]
    where = ".".join(str(p) for p in what["loc"])
    if what["type"] == "extra_forbidden":
        return f"unknown entry {where!r}. {nearest(str(what['loc'][-1]), model.model_fields)}"
    return f"{where}: {what['msg']}"
