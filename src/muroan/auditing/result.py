"""What an audit found, as one document: `findings.json`, and what every other output is drawn from.

The page, the terminal, JUnit and SARIF read this document and nothing else, so they cannot disagree with each
other or with the exit code: verdicts were computed once, before it was written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from muroan.errors import AskedWrongly, shown
from muroan.finding import Chart, Exhibit, Finding, Limit, Metric, Verdict

FORMAT = 1
"""Version of this document's shape; a reader of another one refuses it by name."""


def jsonable(value: Any) -> Any:
    """Settings as JSON has them: a tuple becomes a list, an enum its value, anything unknown its text."""
    if isinstance(value, Enum):
        return jsonable(value.value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, frozenset | set):
        return sorted((jsonable(v) for v in value), key=str)
    if isinstance(value, Sequence):
        return [jsonable(v) for v in value]
    return str(value)


Plain = Annotated[dict[str, JsonValue], BeforeValidator(jsonable)]
"""A mapping that survives the way to JSON and back."""


class _Document(BaseModel):
    # Infinite interval ends are written as "Infinity", so that what is read back is what was written.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings", protected_namespaces=())


class Version(_Document):
    """Which shape this document has, and which Muroan wrote it."""

    findings: int = FORMAT
    muroan: str


class AuditedModel(_Document):
    """ref: how it was named on the command line; modalities and capabilities by name; card: words about it."""

    ref: str
    name: str
    fingerprint: str
    classes: list[str]
    modalities: list[str]
    capabilities: list[str] = Field(default_factory=list)
    card: str | None = None


class AuditedData(_Document):
    """sizes: split -> number of samples; fingerprint: of all splits; groups: name -> its values."""

    ref: str
    name: str
    sizes: dict[str, int]
    fingerprint: str
    groups: dict[str, list[str]] = Field(default_factory=dict)
    cluster: str | None = None


class Environment(_Document):
    """Versions that figures may depend on. Never a host, a user or a path."""

    python: str
    torch: str
    platform: str


class Cost(_Document):
    """counts: rows through each part of the model, and rows whose answer was remembered (`Meter.counts`);
    model_seconds: spent inside the model; seconds: wall time of the probe, so that the difference is Muroan's own."""

    counts: dict[str, int] = Field(default_factory=dict)
    model_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def rows(self) -> int:
        """Rows that passed through some part of the model."""
        return sum(self.counts.values()) - self.remembered

    @property
    def remembered(self) -> int:
        """Rows that were not asked about again."""
        return sum(n for what, n in self.counts.items() if what.startswith("remembered "))

    @property
    def overhead(self) -> float | None:
        """Time beyond the model's own, as a share of it; None if the model was not called."""
        return (self.seconds - self.model_seconds) / self.model_seconds if self.model_seconds > 0 else None


Status = Literal["completed", "not applicable", "not completed"]


class ProbeResult(_Document):
    """One question with everything that came of it.

    docs: first paragraph of the probe's documentation. reason: why it is not completed or not applicable.
    samples: split -> number of samples observed.
    """

    name: str
    question: str
    place: str
    source: str = ""
    docs: str = ""
    settings: Plain = Field(default_factory=dict)
    status: Status = "completed"
    reason: str = ""
    samples: dict[str, int] = Field(default_factory=dict)
    findings: list[Finding] = Field(default_factory=list)
    metrics: list[Metric] = Field(default_factory=list)
    charts: list[Chart] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    exhibits: list[Exhibit] = Field(default_factory=list)
    cost: Cost = Field(default_factory=Cost)

    @property
    def pillar(self) -> str:
        return self.place.split("/")[0]

    def metric(self, name: str) -> Metric | None:
        """The metric of that name, if the probe declared it."""
        return next((m for m in self.metrics if m.name == name), None)


class QuarantineRow(_Document):
    """A sample that could not be used, where it fell out ("read", "clean pass" or a probe's name) and why."""

    sample: str
    stage: str
    reason: str


class Gate(_Document):
    """The limits that were set by the user. limits: finding key, or pattern of keys -> limit."""

    name: str
    limits: dict[str, Limit] = Field(default_factory=dict)


def count(probes: Sequence[ProbeResult]) -> dict[Verdict, int]:
    """How many headline findings have each verdict; details (judged=False without a limit) are not counted.

    A probe that gave no finding at all counts once, as not applicable or not completed.
    """
    counts = dict.fromkeys(Verdict, 0)
    for probe in probes:
        if probe.status != "completed" and not probe.findings:
            counts[Verdict(probe.status)] += 1
        for finding in probe.findings:
            if is_headline(finding):
                counts[finding.verdict] += 1
    return counts


def is_headline(finding: Finding) -> bool:
    """Whether a finding stands for itself: it is judged, or has a limit, rather than detailing another one."""
    return finding.judged or finding.limit is not None


class Summary(_Document):
    """verdicts: `count` of the probes. why: the exit code in words."""

    verdicts: dict[Verdict, int]
    exit_code: int
    why: str

    def of(self, verdict: Verdict) -> int:
        return self.verdicts.get(verdict, 0)


class Result(_Document):
    """An audit's conclusions, with all that is needed to judge and to repeat them.

    created: ISO 8601 time in UTC. plan: as in `audit.json`. level: of every interval. false_discoveries: the
    rate that the verdicts together are held to. command: what to type to get this document again. gate: None
    where only default limits applied.
    """

    version: Version
    created: str
    plan: Plain
    seed: int
    level: float = 0.95
    false_discoveries: float = 0.05
    model: AuditedModel
    data: AuditedData
    environment: Environment
    probes: list[ProbeResult]
    quarantine: list[QuarantineRow] = Field(default_factory=list)
    summary: Summary
    command: str
    gate: Gate | None = None

    @property
    def findings(self) -> list[Finding]:
        """All findings, probe after probe."""
        return [f for p in self.probes for f in p.findings]

    def to_json(self) -> str:
        """The text of `findings.json`."""
        return self.model_dump_json(indent=1) + "\n"


def read(text: str | bytes) -> Result:
    """The document in the text of a `findings.json`; raises `AskedWrongly` saying what is wrong with it."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise AskedWrongly(f"not a findings document: {error}") from error
    version = found.get("version") if isinstance(found, dict) else None
    written = version.get("findings") if isinstance(version, dict) else None
    if written != FORMAT:
        raise AskedWrongly(f"findings of format {shown(written)}; this Muroan reads format {FORMAT}")
    try:
        return Result.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AskedWrongly(f"findings document: {shown(where, 120)}: {first['msg']}") from error
