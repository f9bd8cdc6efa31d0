"""What is asked, of whom, of which samples: everything that decides what an audit observes."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from muroan import registry
from muroan.auditing.asked import parse
from muroan.auditing.gate import Gate, read_gate
from muroan.auditing.observe import selection
from muroan.dataset import OWN_SPLITS, Dataset, Splits, split_off
from muroan.errors import AskedWrongly, nearest
from muroan.evidence import MEMBERS, REFERENCE
from muroan.model import Model
from muroan.probe import Probe
from muroan.version import __version__

SHARD = 512
"""Samples a shard: enough to keep two cores busy, little enough to lose to a kill."""
REFERENCE_SHARE = 0.25
"""Of the user's samples that become the reference where none is named and a probe needs one."""

NEEDED = {
    REFERENCE: "a reference disjoint from the data audited (--reference)",
    MEMBERS: "a sample of the training data (--members)",
}

ProbesAsked = Sequence[str | Probe] | Mapping[str, Mapping[str, Any]] | None
ModelAsked = str | Model
DataAsked = str | os.PathLike[str] | Dataset | Splits


@dataclass(frozen=True)
class Shard:
    """Samples that are worked on together. index: positions in the split; wanted: probe -> those it observes."""

    name: str
    split: str
    index: list[int]
    wanted: Mapping[str, frozenset[int]]


@dataclass(frozen=True)
class Plan:
    """An audit, ready to be carried out. unanswerable: probe -> why it does not apply to this model and data."""

    model: Model
    model_ref: str
    data: Splits
    data_ref: str
    probes: tuple[Probe, ...]
    unanswerable: Mapping[str, str]
    gate: Gate
    gate_name: str | None
    seed: int
    shard: int
    limit: int | None
    level: float
    refs: Mapping[str, str] = field(default_factory=dict)
    """Split -> what it was asked for as, of those that were named beside the data."""

    def asked(self) -> list[Probe]:
        """The probes that can be answered."""
        return [p for p in self.probes if p.name not in self.unanswerable]

    def samples(self, probe: Probe, split: str, data: Dataset) -> list[int]:
        """Which samples of a split a probe observes."""
        limits = [n for n in (probe.limit, self.limit) if n is not None]
        return selection(data, min(limits, default=None), self.seed, split)

    @cached_property
    def shards(self) -> list[Shard]:
        """The shards of all splits, each probe's samples marked; the same for the same plan, always."""
        out = []
        for split, data in self.data.items():
            wanted = {p.name: set(self.samples(p, split, data)) for p in self.asked() if split in p.splits}
            union = sorted(set().union(*wanted.values()))
            for k in range(0, len(union), self.shard):
                index = union[k : k + self.shard]
                here = {name: frozenset(some.intersection(index)) for name, some in wanted.items()}
                name = f"{split}-{k // self.shard:05d}"
                out.append(Shard(name, split, index, {n: s for n, s in here.items() if s}))
        return out

    def to_json(self) -> dict[str, Any]:
        """The plan as `audit.json` has it. Two plans with equal entries observe the same."""
        from muroan.auditing.result import AuditedData, AuditedModel, jsonable

        schema = self.data.audited.schema
        model = AuditedModel(
            ref=self.model_ref,
            name=self.model.name,
            fingerprint=self.model.fingerprint(),
            classes=list(self.model.classes),
            modalities=list(self.model.modalities),
            capabilities=sorted(c.value for c in self.model.capabilities),
            card=getattr(self.model, "card", None),
        )
        data = AuditedData(
            ref=self.data_ref,
            name=self.data.audited.name,
            sizes={n: len(d) for n, d in self.data.items()},
            fingerprint=" ".join(d.fingerprint() for _, d in self.data.items()),
            groups={g: list(v) for g, v in schema.groups.items()},
            cluster=schema.cluster,
        )
        return {
            "muroan": __version__,
            "model": model.model_dump(mode="json"),
            "data": data.model_dump(mode="json"),
            "kinds": {m: schema.modalities[m].kind for m in self.model.modalities},
            "probes": {p.name: jsonable(p.settings()) for p in self.probes},
            "unanswerable": dict(self.unanswerable),
            "shards": [s.name for s in self.shards],
            "seed": self.seed,
            "shard": self.shard,
            "limit": self.limit,
            "level": self.level,
            "splits": dict(sorted(self.refs.items())),
            "gate": {"name": self.gate_name, **self.gate.model_dump(mode="json")},
        }

    def command(self) -> str:
        """What to type to get the same findings again, as far as words can say it."""
        words = ["muroan", "audit", self.model_ref, self.data_ref]
        asked = [_probe_words(p) for p in self.probes]
        if asked != list(registry.methods("probes")):
            words += [w for probe in asked for w in ("--probe", probe)]
        for split, ref in sorted(self.refs.items()):
            words += [f"--{split}", ref] if split in OWN_SPLITS else ["--split", f"{split}={ref}"]
        if self.gate_name:
            words += ["--gate", self.gate_name]
        if self.limit is not None:
            words += ["--limit", str(self.limit)]
        return shlex.join([*words, "--seed", str(self.seed)])


def _probe_words(probe: Probe) -> str:
    default = type(probe)()
    changed = {k: v for k, v in probe.settings().items() if v != getattr(default, k)}
    return probe.name + (":" + ",".join(f"{k}={v}" for k, v in changed.items()) if changed else "")


def choose_probes(asked: ProbesAsked) -> tuple[Probe, ...]:
    """Probes from what a user names: names, instances, name -> settings, or None for all there are."""
    if asked is None:
        return tuple(cls() for cls in registry.methods("probes").values())
    if isinstance(asked, Mapping):
        chosen = [registry.probe(name).configured(settings or {}) for name, settings in asked.items()]
    else:
        chosen = [p if isinstance(p, Probe) else _parse(p) for p in asked]
    names = [p.name for p in chosen]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise AskedWrongly(f"asked twice for {', '.join(twice)}; a probe runs once an audit")
    if not chosen:
        raise AskedWrongly("no probe was asked for")
    return tuple(sorted(chosen, key=lambda p: p.name))


def _parse(text: str) -> Probe:
    name, settings = parse(text, "--probe")
    return registry.probe(name).configured(settings)


def prepare(
    model: ModelAsked,
    data: DataAsked,
    *,
    probes: ProbesAsked = None,
    gate: Gate | str | os.PathLike[str] | None = None,
    gate_name: str | None = None,
    reference: DataAsked | None = None,
    members: DataAsked | None = None,
    named: Mapping[str, DataAsked] | None = None,
    limit: int | None = None,
    seed: int = 0,
    shard: int = SHARD,
    level: float = 0.95,
) -> Plan:
    """Resolve every name, check that model and data fit together, and say what cannot be answered and why."""
    from muroan.references import open_data, open_model

    chosen = choose_probes(probes)
    if gate_name is None and gate is not None and not isinstance(gate, Gate):
        gate_name = str(gate)
    rules = gate if isinstance(gate, Gate) else read_gate(str(gate)) if gate is not None else Gate()
    rules.check([*registry.methods("probes").values(), *chosen])
    if limit is not None and limit < 1:
        raise AskedWrongly(f"a limit of {limit} samples leaves nothing to audit")
    if shard < 1:
        raise AskedWrongly(f"a shard of {shard} samples holds nothing")
    if not 0.5 <= level < 1:
        raise AskedWrongly(f"a level of {level} is no confidence level; 0.95 is usual")

    splits = _splits(data, open_data)
    beside = {"reference": reference, "members": members, **(named or {})}
    given = {n: (a, _splits(a, open_data).audited) for n, a in beside.items() if a is not None}
    splits = splits.having({n: d for n, (_, d) in given.items()})
    if splits.reference is None and any(REFERENCE in p.splits or p.prepares for p in chosen):
        off = split_off(splits.audited, REFERENCE_SHARE, seed)
        splits = replace(splits, audited=off.audited, reference=off.reference)
    splits.check()

    subject = open_model(model, splits) if isinstance(model, str) else model
    if not isinstance(subject, Model):
        raise AskedWrongly(
            f"the model is a {type(subject).__name__}; wrap it in muroan.TorchModel (encoders, fusion, head) or "
            "muroan.BlackBox (a predict function)"
        )
    _fit(subject, splits)
    return Plan(
        model=subject,
        model_ref=model if isinstance(model, str) else f"object:{subject.name}",
        data=splits,
        data_ref=_ref(data, splits.audited),
        probes=chosen,
        unanswerable={p.name: why for p in chosen if (why := why_not(p, subject, splits))},
        gate=rules,
        gate_name=gate_name,
        seed=seed,
        shard=shard,
        limit=limit,
        level=level,
        refs={n: _ref(a, d) for n, (a, d) in given.items()},
    )


def _ref(asked: DataAsked, found: Dataset) -> str:
    return str(asked) if isinstance(asked, str | os.PathLike) else f"object:{found.name}"


def _splits(data: DataAsked, open_data: Any) -> Splits:
    if isinstance(data, Splits):
        return data
    if isinstance(data, Dataset):
        return Splits(data)
    found: Splits = open_data(str(data))
    return found


def _fit(model: Model, splits: Splits) -> None:
    """Raises `AskedWrongly` where a model and a data set do not speak of the same things."""
    for split, data in splits.items():
        if len(data) == 0:
            raise AskedWrongly(f"{data.name} ({split}) has no samples")
        for m in model.modalities:
            if m not in data.schema.modalities:
                raise AskedWrongly(
                    f"{model.name} takes {m!r}, which {data.name} does not have. {nearest(m, data.schema.modalities)}"
                )
        if tuple(model.classes) != tuple(data.schema.classes):
            ours, theirs = list(model.classes), list(data.schema.classes)
            what = "in another order" if sorted(ours) == sorted(theirs) else "that differ"
            raise AskedWrongly(
                f"{model.name} and {data.name} ({split}) have classes {what}: {ours[:8]} and {theirs[:8]}; "
                "give both the same classes in the same order"
            )


def why_not(probe: Probe, model: Model, splits: Splits) -> str | None:
    """None if the question can be put to this model with these data, else the reason why not."""
    missing = sorted(c.says for c in probe.needs - model.capabilities)
    if missing:
        return f"needs {', '.join(missing)}, which {model.name} does not declare"
    wanted = [*probe.splits, *([REFERENCE] if probe.prepares else [])]
    lacking = next((s for s in wanted if splits.get(s) is None), None)
    if lacking is not None:
        return f"needs {NEEDED.get(lacking, f'the split {lacking!r} (--split {lacking}=DATA)')}"
    return probe.applies(model, splits.audited.schema)
