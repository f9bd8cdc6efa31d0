"""The promises of an explainer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.checks.bed import MODALITIES, PlantedModel, planted
from muroan.clean import Clean
from muroan.explainer import Attribution, Explainer
from muroan.meter import Metered
from muroan.model import Code, Model


class _Deaf(PlantedModel):
    """Never looks at its table."""

    name = "deaf to the table"

    def fuse(self, codes: Mapping[str, Code], present: Mapping[str, Tensor] | None = None) -> Tensor:
        return super().fuse({**codes, "table": torch.zeros_like(codes["table"])}, present)


def _explained(explainer: Explainer, model: Model, index: list[int] | None = None) -> Attribution:
    batch = planted().audited.first(16)
    return explainer.explain(Clean.observe(Metered(model, MODALITIES), batch.take(index) if index else batch))


def _flat(found: Attribution) -> Tensor:
    parts = [v.flatten(1) for v in found.modalities.values() if v.ndim > 1]
    parts += [v[:, None] for v in found.modalities.values() if v.ndim == 1]
    parts += [values for _, values in found.parts.values()]
    return torch.cat([p.double() for p in parts], dim=1)


def an_ignored_modality_gets_zero(explainer: Explainer) -> None:
    found = _explained(explainer, _Deaf())
    for what, values in (
        ("modality", found.modalities.get("table")),
        ("parts", found.parts["table"][1] if "table" in found.parts else None),
    ):
        if values is not None:
            assert values.abs().max() < 1e-6, f"{what}: an ignored table gets {values.abs().max():.2g}"


def another_model_another_explanation(explainer: Explainer) -> None:
    a, b = _flat(_explained(explainer, PlantedModel())), _flat(_explained(explainer, PlantedModel(sharp=1.0, seed=5)))
    assert a.shape == b.shape, "the shape depends on the model's weights"
    assert (a - b).abs().max() > 1e-3, "another model gets the same explanation"


def alone_as_in_a_batch(explainer: Explainer) -> None:
    together = _flat(_explained(explainer, PlantedModel()))
    alone = _flat(_explained(explainer, PlantedModel(), [5]))[0]
    kept = together[5][: len(alone)] if len(alone) <= together.shape[1] else together[5]
    a, b = kept[kept.abs() > 1e-9], alone[alone.abs() > 1e-9]
    assert a.shape == b.shape, "the explanation depends on the batch"
    assert torch.allclose(a, b, atol=1e-4), "the explanation depends on the batch"


def same_explanation_twice(explainer: Explainer) -> None:
    assert torch.equal(_flat(_explained(explainer, PlantedModel())), _flat(_explained(explainer, PlantedModel())))


def what_ranks_first_matters_more_than_what_does_not(explainer: Explainer) -> None:
    """Removing the part (or the modality) of the highest value takes more from the decision than removing another."""
    batch = planted().audited.first(48)
    clean = Clean.observe(Metered(PlantedModel(), MODALITIES), batch)
    found = explainer.explain(clean)
    before = _explained_score(clean, batch, found)
    if len(found.modalities) > 1:
        names = list(found.modalities)
        values = torch.stack([found.modalities[m] for m in names], dim=1)
        drops = torch.stack([before - _explained_score(clean, batch.without(m), found) for m in names], dim=1)
        _first_beats_others(drops, values, "modality")
    for m, (boxes, values) in found.parts.items():
        real = (boxes[..., MODALITIES[m].axes :] > 0).all(dim=-1)
        rows = (real.sum(dim=1) > 1).nonzero().flatten()
        if m not in ("image", "text") or len(rows) == 0:
            continue
        drops = torch.zeros_like(values, dtype=torch.double)
        for p in range(boxes.shape[1]):
            cover = MODALITIES[m].cover(batch.inputs[m], boxes[:, p : p + 1])
            without = batch.with_inputs(**{m: MODALITIES[m].erase(batch.inputs[m], cover)})
            drops[:, p] = (before - _explained_score(clean, without, found)).double()
        _first_beats_others(drops[rows], values[rows].masked_fill(~real[rows], -torch.inf), f"parts of {m}", real[rows])


def _explained_score(clean: Clean, batch: Batch, found: Attribution) -> Tensor:
    logits = clean.model.of(batch)
    return (logits - logits.mean(dim=1, keepdim=True)).gather(1, found.explained[:, None]).squeeze(1)


def _first_beats_others(drops: Tensor, values: Tensor, what: str, real: Tensor | None = None) -> None:
    first = values.argmax(dim=1, keepdim=True)
    others = torch.ones_like(drops, dtype=torch.bool) if real is None else real.clone()
    others.scatter_(1, first, False)
    top = drops.gather(1, first).mean()
    rest = (drops * others).sum() / others.sum()
    assert top > rest, f"{what}: removing what ranks first takes {top:.3g}, removing something else {rest:.3g}"
