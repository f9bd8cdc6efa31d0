"""The promises of a mitigation."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import torch

from muroan import registry
from muroan.checks.trainable import trainable_world
from muroan.dataset import Dataset, Loaded, Sample, Splits
from muroan.hardened import Folder
from muroan.mitigation import Mitigated, Mitigation
from muroan.training import Trainer


def _short(mitigation: Mitigation) -> Mitigation:
    """The mitigation with as little training as shows what it does."""
    names = {f.name for f in fields(mitigation)}
    return replace(mitigation, **{"epochs": 2} if "epochs" in names else {})


def _data(splits: Splits) -> Splits:
    """The world without the data audited: a mitigation has no business with them."""
    assert splits.reference is not None
    return replace(splits, audited=_Forbidden(splits.audited))


class _Forbidden(Dataset):
    """Data that raise when they are read."""

    def __init__(self, source: Dataset) -> None:
        self.schema, self.name, self.ids = source.schema, source.name, source.ids

    def sample(self, i: int) -> Sample:
        raise AssertionError("the mitigation read the data audited, which are held out")

    def load(self, index: Sequence[int]) -> Loaded:
        raise AssertionError("the mitigation read the data audited, which are held out")


def _apply(mitigation: Mitigation, seed: int = 0) -> Mitigated:
    model, splits = trainable_world(mitigation)
    return _short(mitigation).apply(model, _data(splits), Trainer(), seed=seed)


def says_what_it_is(mitigation: Mitigation) -> None:
    """Name, what it does, source; probes that it improves and faults that it removes are registered."""
    assert mitigation.name, "no name"
    assert mitigation.does.endswith("."), "no sentence that says what it does"
    assert mitigation.source, "no source"
    for probe, metrics in mitigation.improves.items():
        known = {m.name for m in registry.probe(probe).metrics}
        assert set(metrics) <= known, f"{probe} has no metric {sorted(set(metrics) - known)}"
    for fault in mitigation.removes:
        assert fault in registry.methods("organisms"), f"there is no planted fault {fault!r}"
    again = type(mitigation).configured(json.loads(json.dumps(mitigation.settings())))
    assert again == mitigation, "its settings do not survive being written down"


def same_seed_same_model(mitigation: Mitigation) -> None:
    """Equal models, data and seeds give equal models, and held-out data are not read."""
    _, splits = trainable_world(mitigation)
    a, b = _apply(mitigation, seed=3), _apply(mitigation, seed=3)
    assert a.model.fingerprint() == b.model.fingerprint(), "another model for the same seed"
    inputs = splits.audited.first(40).inputs
    assert torch.equal(a.model.predict(inputs), b.model.predict(inputs)), "other scores for the same seed"


def saved_and_loaded_it_is_the_same(mitigation: Mitigation) -> None:
    """Written to disk and restored from an equal base, scores are the same bits."""
    base, splits = trainable_world(mitigation)
    done = _apply(mitigation)
    with tempfile.TemporaryDirectory() as place:
        Folder(Path(place), "base", base.fingerprint()).add(_short(mitigation), done)
        again = Folder.read(Path(place)).restore(base)
    inputs = splits.audited.first(40).inputs
    assert torch.equal(done.model.predict(inputs), again.predict(inputs)), "other scores after loading"


def it_stays_a_model(mitigation: Mitigation) -> None:
    """Same inputs and classes, finite scores, gradients where there were, rows that do not see each other."""
    base, splits = trainable_world(mitigation)
    done = _apply(mitigation)
    model = done.model
    assert (model.modalities, model.classes) == (base.modalities, base.classes), "other inputs or classes"
    batch = splits.audited.first(40)
    logits = model.predict(batch.inputs)
    assert bool(torch.isfinite(logits).all()), "scores are not finite"
    alone = torch.cat([model.predict(batch.take([i]).inputs) for i in range(6)])
    assert torch.allclose(logits[:6], alone, atol=1e-4), "a row's scores depend on the batch"
    said = any("before training" in note for note in done.notes)
    assert said or model.fingerprint() != base.fingerprint(), "nothing changed, and no note says so"
