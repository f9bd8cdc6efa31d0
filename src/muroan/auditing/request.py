"""An audit as it is asked for in words: on the command line, in an audit.yaml, or by naming a run to go on with.

model: torch:my_module:make_model
data: table.csv                      # columns described in table.yaml beside it
probes:                              # a list of names, or names with settings; all if left out
  robustness.decoupling: {limit: 200}
  monitoring.calibration:
gate: gate.yaml                      # or the limits themselves, as `limits: {...}`
reference: calibration.csv
members: train-sample.csv
splits: {forget: withdrawn.csv}      # splits of other names, for what asks for them
limit: 2000
seed: 0
out: runs/mine
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from muroan import plain_yaml
from muroan.auditing.gate import Gate, complaint, read_gate
from muroan.auditing.plan import SHARD, Plan, prepare
from muroan.auditing.store import Run
from muroan.dataset import OWN_SPLITS
from muroan.errors import AskedWrongly, shown


class AuditFile(BaseModel):
    """The entries of an audit.yaml; others are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    model: str
    data: str
    probes: list[str] | dict[str, dict[str, Any] | None] | None = None
    gate: str | dict[str, Any] | None = None
    reference: str | None = None
    members: str | None = None
    splits: dict[str, str] = Field(default_factory=dict)
    limit: int | None = Field(default=None, ge=1)
    seed: int = 0
    shard: int = Field(default=SHARD, ge=1)
    level: float = Field(default=0.95, ge=0.5, lt=1)
    out: str | None = None


@dataclass(frozen=True)
class Request:
    """What `prepare` is to be called with, and where the run goes."""

    arguments: Mapping[str, Any]
    out: Path

    def plan(self) -> Plan:
        """Resolve names and check that everything fits together."""
        return prepare(**self.arguments)


def request(
    model: str,
    data: str | None,
    *,
    probes: Sequence[str] | None = None,
    gate: Path | None = None,
    reference: str | None = None,
    members: str | None = None,
    splits: Sequence[str] | None = None,
    out: Path | None = None,
    limit: int | None = None,
    seed: int | None = None,
    strict: bool = False,
) -> Request:
    """What the words ask for. Options given here outweigh those of a file. splits: "NAME=DATA"."""
    place = Path(model)
    if data is not None:
        asked = AuditFile(model=model, data=data)
    elif place.is_dir():
        asked, out = _stored(Run(place)), place
    elif place.suffix in (".yaml", ".yml"):
        asked = _file(place)
    else:
        raise AskedWrongly(
            f"{model!r} is neither an audit.yaml nor a run directory; to audit a model, name its data too: "
            f"muroan audit {model} DATA"
        )
    rules = read_gate(gate) if gate else _gate(asked.gate, place)
    if strict:
        rules = (rules or Gate()).model_copy(update={"strict": True})
    arguments = {
        "model": asked.model,
        "data": asked.data,
        "probes": probes or _probes(asked.probes),
        "gate": rules,
        "gate_name": str(gate) if gate else asked.gate if isinstance(asked.gate, str) else None,
        "reference": reference or asked.reference,
        "members": members or asked.members,
        "named": {**asked.splits, **dict(_named(s) for s in splits or ())},
        "limit": limit or asked.limit,
        "seed": asked.seed if seed is None else seed,
        "shard": asked.shard,
        "level": asked.level,
    }
    return Request(arguments, out or Path(asked.out or fresh_folder(asked.model)))


def _named(text: str) -> tuple[str, str]:
    name, equals, data = text.partition("=")
    if not (name and equals and data):
        raise AskedWrongly(f"--split {shown(text)} is not NAME=DATA, such as forget=withdrawn.csv")
    return name, data


def _probes(asked: Any) -> Any:
    return {n: s or {} for n, s in asked.items()} if isinstance(asked, Mapping) else asked


def _gate(asked: str | Mapping[str, Any] | None, beside: Path) -> Gate | None:
    if asked is None:
        return None
    if isinstance(asked, str):
        return read_gate(Path(asked) if Path(asked).is_absolute() else beside.parent / asked)
    try:
        return Gate.model_validate(dict(asked))
    except ValidationError as error:
        raise AskedWrongly(f"gate: {complaint(error, Gate)}") from error


def fresh_folder(model: str, prefix: str = "") -> Path:
    """Where a run goes that names no directory."""
    name = "".join(c if c.isalnum() or c in "-." else "-" for c in model).strip("-.")[:40]
    return Path("runs") / f"{prefix}{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _file(path: Path) -> AuditFile:
    try:
        return AuditFile.model_validate(plain_yaml.read(path))
    except ValidationError as error:
        raise AskedWrongly(f"{path}: {complaint(error, AuditFile)}") from error


def _stored(run: Run) -> AuditFile:
    plan = run.plan()
    gate = {k: v for k, v in plan.get("gate", {}).items() if k != "name"}
    try:
        found = AuditFile(
            model=plan["model"]["ref"],
            data=plan["data"]["ref"],
            probes=plan["probes"],
            gate=gate or None,
            **{s: r for s, r in plan["splits"].items() if s in OWN_SPLITS},
            splits={s: r for s, r in plan["splits"].items() if s not in OWN_SPLITS},
            **{k: plan[k] for k in ("limit", "seed", "shard", "level")},
        )
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise AskedWrongly(f"{run.path}/audit.json is not a plan of this Muroan: {error}") from error
    for what in (found.model, found.data, found.reference, found.members, *found.splits.values()):
        if what is not None and what.startswith("object:"):
            raise AskedWrongly(
                f"{run.path} audits a Python object ({what.removeprefix('object:')}); go on with it from Python, "
                "with muroan.audit(..., out=...)"
            )
    return found
