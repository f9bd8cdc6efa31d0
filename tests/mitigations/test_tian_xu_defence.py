"""The audio-visual defence in its two parts: codes pushed apart, and mixed with a memory of clean codes."""

from __future__ import annotations

import copy
import json
from itertools import pairwise

import pytest
import torch

from muroan import checks
from muroan.data.multiple_features import multiple_features
from muroan.errors import AskedWrongly
from muroan.meter import Metered
from muroan.mitigations.dissimilarity import Dissimilarity, mean_cosine
from muroan.mitigations.feature_memory import FeatureMemory, Remembering, checked, largest, objective, sparse_codes
from muroan.models.digit_views import digit_views_model
from muroan.training import Trainer

VIEWS = ("fourier", "profiles", "pixels")


def world(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    atoms = torch.nn.functional.normalize(torch.randn(20, 8, generator=generator), dim=1)
    return torch.randn(50, 8, generator=generator), atoms


@pytest.mark.parametrize("seed", range(5))
def test_the_objective_never_rises(seed):
    x, atoms = world(seed)
    step = checked(atoms, None)
    found = [
        objective(x, sparse_codes(x, atoms, sparsity=0.1, step=step, iterations=k), atoms, 0.1) for k in range(1, 40)
    ]
    for before, after in pairwise(found):
        assert bool((after <= before + 1e-5).all())


def test_it_ends_at_the_minimum_that_scikit_learn_finds():
    from sklearn.decomposition import sparse_encode

    x, atoms = world(1)
    atoms = atoms[:6]  # with more than dimensions, theirs takes long
    ours = sparse_codes(x, atoms, sparsity=0.1, step=checked(atoms, None), iterations=3000)
    theirs = sparse_encode(x.double().numpy(), atoms.double().numpy(), algorithm="lasso_cd", alpha=0.1, max_iter=5000)
    best = objective(x.double(), torch.from_numpy(theirs), atoms.double(), 0.1)
    assert torch.allclose(objective(x, ours, atoms, 0.1).double(), best, rtol=1e-3, atol=1e-4)


def test_orthonormal_atoms_shrink_in_one_step():
    x = torch.tensor([[1.0, -0.05, 0.3]])
    h = sparse_codes(x, torch.eye(3), sparsity=0.1, step=1.0, iterations=5)
    assert torch.allclose(h, torch.tensor([[0.9, 0.0, 0.2]]))


def test_a_step_that_can_diverge_is_refused():
    _, atoms = world(0)
    assert largest(2 * torch.eye(3)) == pytest.approx(4)
    with pytest.raises(AskedWrongly, match="diverge"):
        checked(atoms, 1.01 / largest(atoms))
    assert checked(atoms, 0.99 / largest(atoms)) > 0


def test_a_row_stops_by_itself():
    x, atoms = world(2)
    settings = {"sparsity": 0.1, "step": checked(atoms, None), "iterations": 300, "tolerance": 1e-2}
    together = sparse_codes(x, atoms, **settings)
    alone = torch.cat([sparse_codes(row[None], atoms, **settings) for row in x])
    assert torch.allclose(together, alone, atol=1e-5)


def test_gradients_go_through_the_memory(base, data, batch):
    model = FeatureMemory().apply(base, data, Trainer()).model
    inputs = {m: v.clone().requires_grad_() for m, v in batch.inputs.items()}
    gradients = torch.autograd.grad(model.predict(inputs).square().sum(), list(inputs.values()))
    assert all(bool((g != 0).any(dim=1).all()) for g in gradients)
    small = 1e-3 * torch.nn.functional.normalize(gradients[0].double(), dim=1).float()
    with torch.no_grad():
        a, b = (
            model.predict({**batch.inputs, VIEWS[0]: batch.inputs[VIEWS[0]] + s * small}).double().square().sum()
            for s in (1, -1)
        )
    assert float(a - b) == pytest.approx(2 * float((gradients[0] * small).sum()), rel=0.05)


def test_share_0_leaves_the_model_as_it_is(base, data, batch):
    model = FeatureMemory(share=0.0).apply(base, data, Trainer()).model
    assert torch.equal(model.predict(batch.inputs), base.predict(batch.inputs))


def test_saved_and_restored_it_gives_the_same_bits(base, data, batch):
    done = FeatureMemory().apply(base, data, Trainer(), seed=3)
    again = FeatureMemory().restore(base, done.tensors, json.loads(json.dumps(done.facts)))
    assert torch.equal(again.predict(batch.inputs), done.model.predict(batch.inputs))
    assert again.fingerprint() == done.model.fingerprint() != base.fingerprint()
    assert isinstance(again, Remembering)


def test_the_memory_keeps_the_promises_of_a_model():
    model = FeatureMemory(atoms=16, iterations=20).apply(digit_views_model(), multiple_features(), Trainer()).model
    for check in checks.of(model):
        check()


def test_cosines_of_known_codes():
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    assert float(mean_cosine([a, b])) == 0
    assert float(mean_cosine([a, 3 * a])) == pytest.approx(1)
    assert float(mean_cosine([a, a, b])) == pytest.approx(1 / 3)
    with pytest.raises(AskedWrongly, match="one length"):
        mean_cosine([a, torch.ones(1, 3)])


def test_training_pushes_codes_apart_and_is_restored(base, data, batch):
    def cosine(model):
        with torch.no_grad():
            return float(mean_cosine([model.encode(m, batch.inputs[m]) for m in VIEWS]))

    done = Dissimilarity(epochs=5).apply(copy.deepcopy(base), data, Trainer(), seed=1)
    assert cosine(done.model) < cosine(base) - 0.05
    accuracy = (Metered(done.model, batch.modalities).of(batch).argmax(dim=1) == batch.targets).float().mean()
    assert float(accuracy) > 0.9
    again = Dissimilarity().restore(copy.deepcopy(base), done.tensors, done.facts)
    assert torch.equal(again.predict(batch.inputs), done.model.predict(batch.inputs))
