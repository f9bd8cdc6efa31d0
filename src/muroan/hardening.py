"""Making a model safer, and saying what came of it: mitigate, save, audit before and after, compare.

What is called better or worse is what two audits of the same held-out samples say, paired. The audit after attacks the
hardened model itself, defence included (adaptive); examples made on the model before are put to it as well (static).
"""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from muroan import registry
from muroan.api import AuditRun, carry_out
from muroan.auditing.asked import parse
from muroan.auditing.diff import Change, Comparison, compare
from muroan.auditing.plan import DataAsked, ModelAsked, Plan, ProbesAsked, prepare, why_not
from muroan.auditing.progress import progress
from muroan.auditing.request import fresh_folder
from muroan.auditing.store import Run
from muroan.errors import AskedWrongly
from muroan.estimate import Estimate
from muroan.evidence import AUDITED
from muroan.hardened import Folder, same_request
from muroan.mitigation import Fitting, Mitigated, Mitigation
from muroan.model import Capability, Model
from muroan.robustness.adversarial.adaptive import defended
from muroan.robustness.adversarial.gradient.probe import Gradient
from muroan.training import Trainer

MitigationsAsked = Sequence[str | Mitigation]


class Row(BaseModel):
    """One outcome before and after. promised: the mitigations are meant to make it better."""

    model_config = ConfigDict(frozen=True)
    change: Change
    promised: bool

    @property
    def verdict(self) -> str:
        """ "improved", "cost" or "undecided"."""
        return {"better": "improved", "worse": "cost"}.get(self.change.verdict, "undecided")


class UnderAttack(BaseModel):
    """Robust accuracy on held-out samples, of inputs attacked within the budgets of `robustness.gradient`.

    condition: the input attacked, or "together". base: of the model before; static: of the safer model, on examples
    made on the model before; adaptive: on those and on examples made by optimising through the defence; random: under
    random changes of the same size, as many tries. gain: adaptive minus base, paired. masked: the share that old
    examples break and the attack through the defence does not: above 0, the defence hides its gradients.
    """

    model_config = ConfigDict(frozen=True)
    condition: str
    base: Estimate
    static: Estimate
    adaptive: Estimate
    random: Estimate
    gain: Estimate
    masked: Estimate


class Outcome(BaseModel):
    """What hardening did: rows in the order improved, cost, undecided; promised ones first."""

    model_config = ConfigDict(frozen=True)
    before: str
    after: str
    mitigations: list[str]
    notes: list[str]
    samples: int
    rows: list[Row]
    attacked: list[UnderAttack]
    not_attacked: str = ""
    """Why nothing was attacked, where nothing was."""
    comparison: Comparison

    def of(self, verdict: str) -> list[Row]:
        return [r for r in self.rows if r.verdict == verdict]

    @property
    def exit_code(self) -> int:
        """0; 1 if something promised to improve got worse; 3 if nothing promised improved beyond doubt."""
        promised = [r for r in self.rows if r.promised]
        if any(r.verdict == "cost" for r in promised):
            return 1
        return 0 if not promised or any(r.verdict == "improved" for r in promised) else 3

    @property
    def why(self) -> str:
        """The outcome in one sentence."""
        kept = sum(r.promised and r.verdict == "improved" for r in self.rows)
        promised = sum(r.promised for r in self.rows)
        return (
            f"{len(self.of('improved'))} improved, {len(self.of('cost'))} at a cost, {len(self.of('undecided'))} "
            f"undecided over {self.samples} samples; "
        ) + (f"of {promised} outcomes promised to improve, {kept} did" if promised else "none was promised to improve")


@dataclass(frozen=True)
class Hardened:
    """A finished hardening. path: holds before/, model/, after/ and harden.json."""

    path: Path
    model: Model
    before: AuditRun
    after: AuditRun
    outcome: Outcome

    @property
    def exit_code(self) -> int:
        return self.outcome.exit_code


def choose(asked: MitigationsAsked) -> tuple[Mitigation, ...]:
    """Mitigations from what a user names: "name", "name:setting=value,...", "one,two", instances."""
    chosen: list[Mitigation] = []
    for item in asked:
        if isinstance(item, Mitigation):
            chosen.append(item)
            continue
        for text in [item] if ":" in item else [t.strip() for t in item.split(",") if t.strip()]:
            name, settings = parse(text, "--with")
            chosen.append(registry.mitigation(name).configured(settings))
    for mitigation in chosen:
        if isinstance(mitigation, Fitting):
            mitigation.schedule()  # what cannot be trained by is said before anything is audited
    if not chosen:
        raise AskedWrongly("no mitigation was asked for; `muroan list mitigations` shows what there is")
    return tuple(chosen)


def harden(
    model: ModelAsked,
    data: DataAsked,
    mitigations: MitigationsAsked,
    *,
    probes: ProbesAsked = None,
    reference: DataAsked | None = None,
    members: DataAsked | None = None,
    out: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    show_progress: bool = True,
) -> Hardened:
    """Apply mitigations one after another, save the result, audit before and after, and compare.

    mitigations: names ("adversarial_training", "fare:epochs=3") or instances, applied in this order. Training takes the
    members (and a part of them to stop by), thresholds the reference; the audited data are held out. probes: what is
    asked before and after; all if None. out: given again with the same request, goes on where it stopped.

    Raises `AskedWrongly` if a mitigation does not apply to this model or data, with the reason.
    """
    chosen = choose(mitigations)
    where = Path(out) if out is not None else fresh_folder(model if isinstance(model, str) else model.name, "harden-")
    plan = partial(prepare, probes=probes, reference=reference, members=members, limit=limit, seed=seed)
    first = plan(model, data)
    for mitigation in chosen:
        _refuse(mitigation, first)
    trainer = Trainer(progress=partial(progress, show=show_progress), folder=where / "training")
    base = _given_away(model, first)
    before = carry_out(first, where / "before", show_progress=show_progress)
    folder = _mitigated(first, base, chosen, where / "model", trainer, seed)
    shutil.rmtree(where / "training", ignore_errors=True)  # only an unfinished training is gone on with
    done = folder.restore(_given_away(model, first))
    attacked, why = under_attack(first, done, seed)
    ref = first.model_ref if first.model_ref.startswith("object:") else str(where / "model")
    second = plan(done, data)
    after = carry_out(replace(second, model_ref=ref), where / "after", show_progress=show_progress)
    found = outcome(compare(before.directory, after.directory), chosen, folder, attacked, why)
    Run(where).write_text("harden.json", found.model_dump_json(indent=1))
    return Hardened(where, done, before, after, found)


def outcome(
    found: Comparison, chosen: Sequence[Mitigation], folder: Folder, attacked: list[UnderAttack], why: str
) -> Outcome:
    """Rows in the order in which they are read."""
    promised = {probe for m in chosen for probe in m.improves}
    rows = [Row(change=c, promised=c.probe in promised) for c in found.changes]
    order = {"improved": 0, "cost": 1, "undecided": 2}
    return Outcome(
        before=found.before,
        after=found.after,
        mitigations=[m.name for m in chosen],
        notes=[f"{s['name']}: {n}" for s in folder.steps for n in s["notes"]],
        samples=found.samples,
        rows=sorted(rows, key=lambda r: (order[r.verdict], not r.promised)),
        attacked=attacked,
        not_attacked=why,
        comparison=found,
    )


def under_attack(plan: Plan, done: Model, seed: int) -> tuple[list[UnderAttack], str]:
    """Each input alone and all together, attacked before and after; or the reason why not."""
    asked = next((p for p in plan.probes if p.name == Gradient.name), Gradient())
    assert isinstance(asked, Gradient)
    why = why_not(asked, plan.model, plan.data) or why_not(asked, done, plan.data)
    if why is not None:
        return [], why
    data = plan.data.audited
    batch = data.load(plan.samples(asked, AUDITED, data)).batch
    if batch is None:
        return [], "no sample can be read"
    budgets = asked.grid({m: batch.modalities[m].kind for m in plan.model.modalities}).full
    found = defended(plan.model, done, batch, budgets, asked.together(), seed=seed)
    return [
        UnderAttack(
            condition=c,
            base=found.accuracy(c, "base"),
            static=found.accuracy(c, "static"),
            adaptive=found.accuracy(c, "adaptive"),
            random=found.accuracy(c, "random"),
            gain=found.gain(c),
            masked=found.masked(c),
        )
        for c in found.stays
    ], ""


def _refuse(mitigation: Mitigation, plan: Plan) -> None:
    why = mitigation.why_not(plan.model, plan.data)
    if why is not None:
        raise AskedWrongly(f"{mitigation.name} does not apply here: {why}")


def _given_away(model: ModelAsked, plan: Plan) -> Model:
    """The same model once more, for a mitigation to change."""
    if isinstance(model, str):
        from muroan.references import open_model

        return open_model(model, plan.data)
    try:
        twin = copy.deepcopy(model)
    except Exception as error:  # anybody's model: it may hold what cannot be copied
        raise AskedWrongly(
            f"{model.name} cannot be copied ({error}); give a reference such as torch:module:factory"
        ) from error
    if Capability.TRAIN in model.capabilities:
        mine = {id(p) for p in model.trainable().parameters()}
        if any(id(p) in mine for p in twin.trainable().parameters()):
            raise AskedWrongly(
                f"a copy of {model.name} shares its weights (a function in it closes over a module), so training the "
                "copy would change the original; give a reference to a function that makes it: torch:module:factory"
            )
    return twin


def _mitigated(
    plan: Plan, base: Model, chosen: Sequence[Mitigation], path: Path, trainer: Trainer, seed: int
) -> Folder:
    """The folder of the hardened model; what an earlier start finished is not done again."""
    asked: dict[str, Any] = {"data": plan.to_json()["data"], "seed": seed}
    folder = Folder(path, plan.model_ref, base.fingerprint(), asked)
    if (path / "hardened.json").exists():
        kept = Folder.read(path)
        if not same_request(kept, chosen, asked) or kept.base_fingerprint != folder.base_fingerprint:
            raise AskedWrongly(f"{path} holds another hardened model; name another directory, or ask for the same")
        folder = kept
    model = folder.restore(base) if folder.steps else base
    for k, mitigation in enumerate(chosen):
        if k < len(folder.steps):
            continue
        done: Mitigated = mitigation.apply(model, plan.data, trainer.named(str(k)), seed=seed)
        folder.add(mitigation, done)
        model = done.model
    return folder
