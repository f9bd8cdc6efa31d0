"""The promises of a data set."""

from __future__ import annotations

import torch
from torch import Tensor

from muroan.dataset import Dataset
from muroan.modality import Value


def says_what_it_has(data: Dataset) -> None:
    """A name, a schema, and as many distinct ids as samples."""
    assert data.name, "no name"
    assert data.schema.modalities, "no modalities"
    assert len(data.schema.classes) >= 2, "fewer than two classes"
    assert len(set(data.ids)) == len(data) > 0, "ids are not distinct, or there are none"
    assert data.fingerprint() == data.fingerprint(), "the fingerprint changes by itself"


def every_sample_is_loaded_or_quarantined(data: Dataset) -> None:
    """Nothing is dropped in silence, and order is kept."""
    asked = list(range(min(64, len(data))))
    loaded = data.load(asked)
    good = list(loaded.batch.ids) if loaded.batch is not None else []
    bad = [q.sample for q in loaded.quarantined]
    assert sorted(good + bad) == sorted(data.ids[i] for i in asked), "samples were lost or invented"
    assert good == [data.ids[i] for i in asked if data.ids[i] in set(good)], "the order changed"
    assert all(q.reason for q in loaded.quarantined), "a quarantined sample has no reason"


def samples_do_not_depend_on_their_company(data: Dataset) -> None:
    """A sample is the same alone and among others."""
    asked = list(range(min(16, len(data))))
    together = data.load(asked).batch
    if together is None:
        return
    for k, name in enumerate(together.ids):
        alone = data.load([list(data.ids).index(name)]).batch
        assert alone is not None, f"{name} can only be read among others"
        for m, v in together.inputs.items():
            assert _same(v[k], alone.inputs[m][0]), f"{name}: {m} differs"
        assert together.targets[k] == alone.targets[0], f"{name}: the target differs"


def groups_and_clusters_are_declared(data: Dataset) -> None:
    """Group values are among those declared, or unknown (""); clusters come if the schema names them."""
    batch = data.load(range(min(64, len(data)))).batch
    if batch is None:
        return
    for g, values in data.schema.groups.items():
        strange = set(batch.groups[g]) - set(values) - {""}
        assert not strange, f"group {g} has undeclared values {strange}"
    assert (batch.clusters is None) == (data.schema.cluster is None), "clusters and schema disagree"


def equal_keys_are_equal_values(data: Dataset) -> None:
    """Rows with one key hold one value: it is encoded once for all of them."""
    batch = data.load(range(min(64, len(data)))).batch
    if batch is None:
        return
    for m, keys in batch.keys.items():
        first: dict[int, int] = {}
        for k, key in enumerate(keys.tolist()):
            j = first.setdefault(key, k)
            assert _same(batch.inputs[m][j], batch.inputs[m][k]), f"{m}: key {key} has two values"


def _same(a: Value, b: Value) -> bool:
    return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)
