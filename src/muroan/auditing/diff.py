"""Two audits of the same samples, compared sample by sample.

The pairing is what makes a comparison sharp: a sample that is hard for both models says nothing about their
difference. Conditions of one sample are dependent, so a sample (or its cluster) is what intervals resample.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
from pydantic import BaseModel, ConfigDict

from muroan import registry
from muroan.auditing import result as doc
from muroan.auditing.store import Run
from muroan.errors import AskedWrongly
from muroan.estimate import Estimate, adjust, p_value, paired_difference
from muroan.evidence import AUDITED, SAMPLES
from muroan.finding import Verdict

FEWEST = 20
"""Samples in common below which a comparison would only be noise."""
SPELT_OUT = 8
"""Conditions up to which each is compared for itself; more of them (corruptions by severity) are taken together."""
CONTROLS = ("null", "random", "unbounded")
"""Beginnings of conditions that are controls: nothing about the model gets better or worse there."""


class Change(BaseModel):
    """One outcome of one probe, after minus before, over the samples that both audits have.

    condition: under which; "" for all of the probe's conditions together. better: whether a higher or a lower value is
    better. verdict: "better" or "worse" where the interval is clear of zero after false-discovery control, else
    "undecided".
    """

    model_config = ConfigDict(frozen=True)
    probe: str
    outcome: str
    condition: str = ""
    better: str
    before: float
    after: float
    difference: Estimate
    verdict: str = "undecided"


class Turned(BaseModel):
    """A finding whose verdict is not the same in both audits."""

    model_config = ConfigDict(frozen=True)
    key: str
    before: Verdict
    after: Verdict


class Comparison(BaseModel):
    """before, after: names of the models; samples: how many both audits have."""

    model_config = ConfigDict(frozen=True)
    before: str
    after: str
    samples: int
    changes: list[Change]
    turned: list[Turned]

    @property
    def worse(self) -> list[Change]:
        return [c for c in self.changes if c.verdict == "worse"]

    @property
    def why(self) -> str:
        """The outcome in one sentence."""
        better = sum(c.verdict == "better" for c in self.changes)
        return (
            f"{len(self.worse)} worse, {better} better, {len(self.changes) - better - len(self.worse)} undecided "
            f"over {self.samples} samples in common"
        )


def compare(before: Run, after: Run, *, false_discoveries: float = 0.05) -> Comparison:
    """What changed from one audit to the other; raises `AskedWrongly` if they have too few samples in common."""
    old, new = _document(before), _document(after)
    facts = _clean(before).join(_clean(after), on="sample", suffix="_after")
    if len(facts) < FEWEST:
        raise AskedWrongly(
            f"{before.path} and {after.path} have {len(facts)} samples in common; a paired comparison needs "
            f"at least {FEWEST} of the same data"
        )
    if len(facts.filter(pl.col("target") != pl.col("target_after"))):
        raise AskedWrongly(f"{before.path} and {after.path} give the same samples different labels")
    changes = [_change("clean", "correct", "higher", facts, "clean_correct")]
    for probe in sorted({p.name for p in old.probes} & {p.name for p in new.probes}):
        changes += _probe_changes(probe, before, after, facts)
    adjusted = adjust([p_value(c.difference, 0.0) for c in changes])
    return Comparison(
        before=old.model.name,
        after=new.model.name,
        samples=len(facts),
        changes=[_judged(c, p, false_discoveries) for c, p in zip(changes, adjusted, strict=True)],
        turned=list(_turned(old, new)),
    )


def _document(run: Run) -> doc.Result:
    path = run.path / "findings.json"
    if not path.is_file():
        raise AskedWrongly(f"{run.path} has no findings.json; finish the audit first")
    return doc.read(path.read_bytes())


def _clean(run: Run) -> pl.DataFrame:
    rows = run.evidence(SAMPLES)
    keep = ["sample", "cluster", "target", "clean_correct", "clean_confidence"]
    return rows.filter(pl.col("split") == AUDITED).select(keep).unique("sample").sort("sample")


def _probe_changes(name: str, before: Run, after: Run, facts: pl.DataFrame) -> Iterator[Change]:
    known = registry.methods("probes").get(name)
    if known is None or not known.outcomes:
        return
    try:
        old, new = before.evidence(name), after.evidence(name)
    except AskedWrongly:  # one of them was not applicable
        return
    for outcome, better in known.outcomes.items():
        if outcome not in old.columns or outcome not in new.columns:
            continue
        keys = ["sample", "condition"]
        both = (
            old.filter(pl.col("split") == AUDITED)
            .select(*keys, pl.col(outcome).alias("x"))
            .join(new.filter(pl.col("split") == AUDITED).select(*keys, pl.col(outcome).alias("x_after")), on=keys)
            .drop_nulls()
            .join(facts.select("sample", "cluster"), on="sample")
            .sort(keys)
        )
        controls = pl.any_horizontal(pl.col("condition").str.starts_with(c) for c in CONTROLS)
        both = both.filter(~controls)
        if "attacked" in old.columns and "attacked" in new.columns:  # only what both audits attacked is comparable
            attacked = [r.filter(pl.col("attacked")).select(keys) for r in (old, new)]
            both = both.join(attacked[0], on=keys, how="semi").join(attacked[1], on=keys, how="semi")
        parts = both.partition_by("condition", as_dict=True, maintain_order=True)
        if len(parts) > SPELT_OUT:
            parts = {("",): both}
        for (condition,), rows in sorted(parts.items(), key=lambda item: str(item[0])):
            if rows["sample"].n_unique() >= FEWEST:
                yield _change(name, outcome, better, rows, "x", str(condition))


def _change(probe: str, outcome: str, better: str, rows: pl.DataFrame, column: str, condition: str = "") -> Change:
    a = rows[column].cast(pl.Float64).to_numpy()
    b = rows[f"{column}_after"].cast(pl.Float64).to_numpy()
    units = rows["cluster"].fill_null(rows["sample"]).to_list()
    return Change(
        probe=probe,
        outcome=outcome,
        condition=condition,
        better=better,
        before=float(a.mean()),
        after=float(b.mean()),
        difference=paired_difference(b, a, units),
    )


def _judged(change: Change, p: float, false_discoveries: float) -> Change:
    d = change.difference
    if p > false_discoveries or d.low <= 0 <= d.high:
        return change
    improved = (d.value > 0) == (change.better == "higher")
    return change.model_copy(update={"verdict": "better" if improved else "worse"})


def _turned(old: doc.Result, new: doc.Result) -> Iterator[Turned]:
    before = {f.key: f.verdict for f in old.findings if doc.is_headline(f)}
    for f in new.findings:
        if f.key in before and f.verdict is not before[f.key] and doc.is_headline(f):
            yield Turned(key=f.key, before=before[f.key], after=f.verdict)
