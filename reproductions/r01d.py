"""MUROAN's claim that adversarial training does not stop decoupling, and what training without parts of the input does.

Two real models whose training is continued on data that is not audited: the shipped easy-VQA model, and the emoji
towers as retrieval (an emoji's picture and caption find each other among 100 distractors; trained on one half of the
pairs that the towers know, measured on the other half, where answers are right to begin with). Four trainings of equal
length on three seeds: plain; adversarial (PGD on the picture; of easy-VQA's question a word too); with random regions
and words removed; with salient points removed. Beside them the untrained model, and (on few samples, it costs many
passes) a consistency vote over it, attacked with the votes inside.

All are attacked by the same decoupling search at the same budget, with random removals of the same pieces, asked as
often, beside it, and by APGD on the picture. Nothing is tuned until a claim holds.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from muroan.batch import Batch
from muroan.budget import Budget
from muroan.clean import Clean
from muroan.data.easy_vqa import easy_vqa
from muroan.data.emoji import emoji
from muroan.dataset import Dataset, Splits
from muroan.estimate import paired_difference, proportion
from muroan.interventions.attacks.apgd import APGD
from muroan.interventions.attacks.decoupling import Decoupling
from muroan.interventions.attacks.matched import best_of
from muroan.interventions.attacks.removal import Removal, share
from muroan.meter import Metered
from muroan.mitigations.adversarial_training import AdversarialTraining
from muroan.mitigations.consistency_vote import ConsistencyVote
from muroan.mitigations.removal_training import RegionWordDropout, SalientPointRemoval
from muroan.model import Model
from muroan.models.easy_vqa import easy_vqa_model
from muroan.models.emoji_towers import emoji_model
from muroan.randomness import choose
from muroan.training import Schedule, Trainer

SEEDS = (0, 1, 2)
BUDGET = 0.05
PER_INPUT = 0.5
AUDITED = 140
VOTED = 36
LENGTH: dict[str, Any] = {"epochs": 4, "batch": 64, "rate": 1e-3}
RADIUS = {"easy-VQA": 8 / 255, "emoji": 8 / 255}
Made = tuple[Model, Splits, Batch]


def vqa() -> Made:
    """The shipped model, 120 pictures to train on, questions of the test split."""
    splits = easy_vqa()
    assert splits.members is not None
    names = sorted(set(splits.members.clusters()))
    kept = {names[k] for k in choose(names, 120, "r01d")}
    members = splits.members.subset([i for i, c in enumerate(splits.members.clusters()) if c in kept])
    return easy_vqa_model(), Splits(splits.audited, members=members), some(splits.audited)


def pairs() -> Made:
    """The shipped towers; members in two halves, near-duplicates on one side."""
    known = emoji().members
    assert known is not None
    bases = sorted(set(known.clusters()))
    half = {bases[k] for k in choose(bases, len(bases) // 2, "r01d")}
    at = [c in half for c in known.clusters()]
    members, audited = (known.subset([i for i, a in enumerate(at) if a == side]) for side in (True, False))
    return emoji_model(), Splits(audited, members=members), some(audited)


def some(data: Dataset) -> Batch:
    batch = data.load(choose(data.ids, AUDITED, "r01d audited")).batch
    assert batch is not None
    return batch


def trainings(bed: str) -> dict[str, Callable[[Model, Splits, int], Model]]:
    """How training goes on, by name; all for as long."""

    def plain(model: Model, data: Splits, seed: int) -> Model:
        def loss(b: Batch) -> torch.Tensor:
            return functional.cross_entropy(model.predict(b.inputs), b.targets)

        assert data.members is not None
        Trainer(name="plain").fit(model.trainable(), loss, data.members, Schedule(**LENGTH), seed=seed)
        return model

    words = 1 if bed == "easy-VQA" else 0
    adversarial = AdversarialTraining(radii=(("image", RADIUS[bed]),), words=words, **LENGTH)
    removals = (RegionWordDropout(**LENGTH), SalientPointRemoval(**LENGTH))
    made = {m.name: lambda model, data, seed, m=m: m.apply(model, data, Trainer(), seed=seed).model
            for m in (adversarial, *removals)}  # fmt: skip
    return {"plain training": plain} | made


def observed(model: Model, batch: Batch, radius: float) -> dict[str, torch.Tensor]:
    """Per sample, bool [N]: right; turned by the search and by chance, on all inputs and on the picture alone; turned
    with at most 1 % removed; right under APGD."""
    metered = Metered(model, batch.modalities)
    clean = Clean.observe(metered, batch)
    removal, attack = Removal(clean), Decoupling(share=BUDGET)
    parts = attack.parts(removal, clean.correct, list(metered.modalities))
    out = {"right": clean.correct}
    for scope, among in {"all inputs": list(metered.modalities), "picture": ["image"]}.items():
        found = attack.find(removal, parts, dict.fromkeys(among, PER_INPUT))
        draws = torch.where(clean.correct, found.calls, 0)
        taken = share(torch.stack(list(found.removed.values())).sum(dim=0), removal.total)
        out[scope] = found.success & clean.correct
        out[f"{scope}, at most 1 %"] = out[scope] & (taken <= 0.01)
        out[f"{scope}, random"] = (
            best_of(removal, found.spent, draws, clean.keys("r01d", scope)).success & clean.correct
        )
    done = APGD(steps=15).run(metered, batch, {"image": Budget(radius=radius)})
    out["under APGD"] = clean.correct & ~done.success
    return out


def compared(
    batch: Batch, before: list[dict[str, torch.Tensor]], after: list[dict[str, torch.Tensor]]
) -> dict[str, Any]:
    """Figures of several seeds as one, the same picture under several seeds as one cluster."""
    names = list(batch.clusters or batch.ids) * len(after)
    base, now = ({k: torch.cat([o[k] for o in part]) for k in after[0]} for part in (before, after))
    out: dict[str, Any] = {}
    for k in now:
        rows = now["right"] if k.split(",")[0] in ("all inputs", "picture") else torch.ones_like(now["right"])
        by = [c for c, r in zip(names, rows.tolist(), strict=True) if r]
        out[k] = str(proportion(now[k][rows], by))
    for scope in ("all inputs", "all inputs, at most 1 %", "picture", "picture, at most 1 %"):
        both = base["right"] & now["right"]
        by = [c for c, r in zip(names, both.tolist(), strict=True) if r]
        out[f"change: {scope}"] = paired_difference(now[scope][both], base[scope][both], by)
    out["change: under APGD"] = paired_difference(now["under APGD"], base["under APGD"], names)
    out["change: right"] = paired_difference(now["right"], base["right"], names)
    return out


def on(bed: str, made: Made) -> dict[str, dict[str, Any]]:
    model, data, batch = made
    radius = RADIUS[bed]
    plain = observed(model, batch, radius)
    table = {"untrained": compared(batch, [plain], [plain])}
    seen: dict[str, list[dict[str, torch.Tensor]]] = {}
    for name, train in trainings(bed).items():
        for seed in SEEDS:
            torch.manual_seed(seed)
            seen.setdefault(name, []).append(observed(train(copy.deepcopy(model), data, seed), batch, radius))
    for name, after in seen.items():
        table[name] = compared(
            batch, [plain] * len(after) if name == "plain training" else seen["plain training"], after
        )
    few = batch.take(range(VOTED))
    voting = ConsistencyVote().apply(model, data, Trainer()).model
    table["consistency_vote"] = compared(few, [observed(model, few, radius)], [observed(voting, few, radius)])
    return table


def run() -> dict[str, Any]:
    """Both beds."""
    tables = {"easy-VQA": on("easy-VQA", vqa()), "emoji": on("emoji", pairs())}
    verdicts = {}
    for bed, table in tables.items():
        trained, removed = table["adversarial_training"], table["salient_point_removal"]
        did = trained["change: under APGD"].low > 0
        helped = [trained[f"change: {s}"].high < 0 for s in ("all inputs", "picture")]
        if not did:
            verdict = "undecided: adversarial training was not apart from plain training against gradients"
        elif not any(helped):
            verdict = "holds: decoupling is not apart from below that after plain training"
        else:
            verdict = "does not hold here: decoupling became rarer too, apart"
        verdicts[f"adversarial training is insufficient, {bed}"] = verdict
        better = [removed[f"change: {s}"].high < 0 for s in ("all inputs", "picture")]
        said = "holds" if all(better) else "undecided: of one scope only" if any(better) else "does not hold here"
        verdicts[f"removal of salient points makes decoupling rarer, {bed}"] = said
    return {
        "row": "r01d",
        "claim": "Traditional adversarial training is insufficient against decoupling; training without salient points "
        "is named as a direction.",
        "source": "Vishwamitra et al., MUROAN, arXiv 2112.12792 (abstract; the second half after the authors' account)",
        "measured": {
            **{bed: {n: {k: str(v) for k, v in row.items()} for n, row in t.items()} for bed, t in tables.items()},
            "how to read it": f"turned by removing at most {BUDGET:.0%} of all points and half of an input, among "
            "right answers; changes are paired, over answers right in both, from plain training of equal length "
            "(plain training and the vote: from the untrained model); 'right' and 'under APGD' are shares of all",
            "radius of APGD": {bed: f"{r * 255:g}/255, 15 steps" for bed, r in RADIUS.items()},
        },
        "verdict": verdicts,
        "command": "python reproductions/r01d.py",
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2, ensure_ascii=False))
