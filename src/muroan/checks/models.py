"""The promises of a model, tested on values that its modalities' own world provides."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.checks.bed import planted
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.meter import Metered
from muroan.model import Capability, Model
from muroan.references import DATASETS, open_data


def _batch(model: Model, n: int = 12) -> Batch:
    """Samples that the model can read: built-in data whose modalities bear the model's names, its own classes first.

    Data of packages that are not installed are left out.
    """
    named: list[Dataset] = []
    for name in ("planted", *DATASETS):
        try:
            data = _built_in(name)
        except AskedWrongly:
            continue
        if set(model.modalities) <= set(data.schema.modalities):
            named.append(data)
    # Names alone do not tell one world's pictures from another's, which have another size.
    for data in sorted(named, key=lambda d: d.schema.classes != model.classes):
        loaded = data.first(n)
        if len(named) == 1 or data.schema.classes == model.classes or _reads(model, loaded):
            return loaded
    raise AssertionError(f"no built-in data have modalities {model.modalities}; call the checks with data of your own")


@cache
def _built_in(name: str) -> Dataset:
    return (planted() if name == "planted" else open_data(name)).audited


def _reads(model: Model, batch: Batch) -> bool:
    try:
        model.predict(batch.inputs)
    except Exception:  # whatever a network makes of values that are not its own
        return False
    return True


def says_what_it_is(model: Model) -> None:
    """Name, modalities and classes are there, and capabilities are of the known kind."""
    assert model.name, "no name"
    assert model.modalities, "no modalities"
    assert len(model.classes) >= 2, "fewer than two classes"
    assert all(isinstance(c, Capability) for c in model.capabilities), "capabilities of another kind"
    assert model.fingerprint() == model.fingerprint(), "the fingerprint changes by itself"


def scores_have_their_shape(model: Model) -> None:
    """[N, K], finite, also for one sample."""
    for n in (12, 1):
        batch = _batch(model, n)
        logits = model.predict(batch.inputs)
        assert tuple(logits.shape) == (n, len(model.classes)), f"scores of shape {tuple(logits.shape)} for {n} samples"
        assert bool(torch.isfinite(logits).all()), "scores are not finite"


def rows_do_not_see_each_other(model: Model) -> None:
    """A sample's scores are the same alone, in a batch and in another order."""
    batch = _batch(model)
    logits = model.predict(batch.inputs)
    alone = torch.cat([model.predict(batch.take([i]).inputs) for i in range(len(batch))])
    assert torch.allclose(logits, alone, atol=1e-4), f"alone differs by {(logits - alone).abs().max():.2g}"
    turned = list(range(len(batch)))[::-1]
    again = model.predict(batch.take(turned).inputs)[turned]
    assert torch.allclose(logits, again, atol=1e-4), "the order of samples matters"


def parts_make_the_whole(model: Model) -> None:
    """encode, fuse and decide give what predict gives."""
    if Capability.FUSE not in model.capabilities:
        return
    batch = _batch(model)
    apart, whole = Metered(model, batch.modalities), Metered(model, batch.modalities, apart=False)
    assert torch.allclose(apart.of(batch), whole.of(batch), atol=1e-4), "encode + fuse + decide is not predict"


def missing_inputs_have_scores(model: Model) -> None:
    """With any one modality at its neutral value the scores stay finite."""
    batch = _batch(model)
    metered = Metered(model, batch.modalities)
    for m in model.modalities:
        assert bool(torch.isfinite(metered.of(batch.without(m))).all()), f"without {m}: scores are not finite"


def gradients_flow(model: Model) -> None:
    """Declared gradients reach every continuous input, and are not all zero."""
    if Capability.GRADIENTS not in model.capabilities:
        return
    batch = _batch(model)
    inputs = {
        m: v.clone().requires_grad_(True) if isinstance(v, Tensor) else v
        for m, v in batch.inputs.items()
        if m in model.modalities
    }
    wanted = [v for v in inputs.values() if isinstance(v, Tensor)]
    if not wanted:
        return
    loss = torch.nn.functional.cross_entropy(model.predict(inputs), batch.targets)
    grads = torch.autograd.grad(loss, wanted, allow_unused=True)
    assert any(g is not None and bool((g != 0).any()) for g in grads), "declares gradients, but all are zero"


def embeddings_are_the_text(model: Model) -> None:
    """Encoding a text's embeddings gives the text's code."""
    if Capability.EMBEDDINGS not in model.capabilities:
        return
    batch = _batch(model)
    for m in model.modalities:
        if batch.modalities[m].kind == "text":
            direct, embedded = model.encode(m, batch.inputs[m]), model.embed(m, batch.inputs[m])
            through = model.encode_embedded(m, embedded)
            assert torch.allclose(direct, through, atol=1e-5), f"{m}: embeddings give another code"
