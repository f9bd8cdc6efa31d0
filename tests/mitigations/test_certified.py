"""The certified radius of a linear head: known cases, and that nothing found by any means undercuts it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muroan import TorchModel
from muroan.errors import NotApplicable
from muroan.mitigations.certified import LinearHead, linear_head
from muroan.models.digit_views import network


def drawn(seed: int, k: int = 4) -> tuple[LinearHead, dict[str, torch.Tensor]]:
    g = torch.Generator().manual_seed(seed)
    weights = {m: torch.randn(k, d, generator=g).double() for m, d in (("a", 3), ("b", 5))}
    head = LinearHead(weights, torch.randn(k, generator=g).double())
    return head, {m: torch.randn(20, w.shape[1], generator=g).double() for m, w in weights.items()}


def test_two_classes_by_hand():
    """Scores ±(3 a + 4 b): from a = 1, b = 0 the border is 6/10 away along both, 6/6 along a alone."""
    w = torch.tensor([[3.0], [-3.0]]).double(), torch.tensor([[4.0], [-4.0]]).double()
    head = LinearHead({"a": w[0], "b": w[1]}, torch.zeros(2).double())
    codes = {"a": torch.ones(1, 1), "b": torch.zeros(1, 1)}
    assert float(head.radius(codes)) == pytest.approx(0.6)
    assert float(head.radius(codes, ["a"])) == pytest.approx(1.0)
    assert float(head.radius(codes, ["b"])) == pytest.approx(0.75)


@given(st.integers(0, 10_000), st.sampled_from([None, ["a"], ["b"]]))
@settings(max_examples=40, deadline=None)
def test_no_change_below_the_radius_changes_the_decision_and_one_just_above_does(seed, moving):
    head, codes = drawn(seed)
    radius, own = head.radius(codes, moving), head.logits(codes).argmax(dim=1)
    nearest = head.nearest(codes, moving)
    size = torch.cat(list(nearest.values()), dim=1).norm(dim=1)
    assert torch.allclose(size, radius)
    for factor, same in ((0.999, True), (1.001, False)):
        moved = {m: c + factor * nearest[m] if m in nearest else c for m, c in codes.items()}
        assert bool(((head.logits(moved).argmax(dim=1) == own) == same).all())
    g = torch.Generator().manual_seed(seed)
    for _ in range(20):
        names = list(nearest)
        way = torch.cat([torch.randn(codes[m].shape, generator=g).double() for m in names], dim=1)
        parts = (way / way.norm(dim=1, keepdim=True) * radius[:, None] * 0.999).split(
            [codes[m].shape[1] for m in names], dim=1
        )
        moved = {**codes, **{m: codes[m] + p for m, p in zip(names, parts, strict=True)}}
        assert torch.equal(head.logits(moved).argmax(dim=1), own)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_all_codes_together_never_need_to_move_further_than_one(seed):
    head, codes = drawn(seed)
    together = head.radius(codes)
    assert all(bool((together <= head.radius(codes, [m]) + 1e-12).all()) for m in codes)


def test_a_code_without_a_say_has_no_radius():
    head = LinearHead({"a": torch.eye(2).double(), "b": torch.zeros(2, 3).double()}, torch.zeros(2).double())
    codes = {"a": torch.randn(5, 2), "b": torch.randn(5, 3)}
    assert bool(head.radius(codes, ["b"]).isinf().all())


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_through_affine_encoders_the_radius_is_of_inputs(seed):
    head, codes = drawn(seed)
    g = torch.Generator().manual_seed(seed + 1)
    maps = {m: torch.randn(c.shape[1], 7, generator=g).double() for m, c in codes.items()}
    inputs = {m: torch.randn(20, 7, generator=g).double() for m in codes}
    found = head.through(maps)
    radius, nearest = found.radius(inputs), found.nearest(inputs)
    own = head.logits({m: inputs[m] @ maps[m].T for m in codes}).argmax(dim=1)
    for factor, same in ((0.999, True), (1.001, False)):
        moved = {m: (inputs[m] + factor * nearest[m]) @ maps[m].T for m in codes}
        assert bool(((head.logits(moved).argmax(dim=1) == own) == same).all())
    assert torch.allclose(torch.cat(list(nearest.values()), dim=1).norm(dim=1), radius)


def test_a_models_linear_head_is_read_off():
    torch.manual_seed(0)
    last = torch.nn.Linear(6, 3)
    model = TorchModel(
        encoders={"a": torch.nn.Linear(4, 3), "b": torch.nn.Linear(2, 3)},
        fusion=lambda c: torch.cat([c["a"], c["b"]], dim=1),
        head=last,
        classes=("x", "y", "z"),
    )
    codes = {m: model.encode(m, torch.randn(9, f)) for m, f in (("a", 4), ("b", 2))}
    head = linear_head(model, codes)
    assert torch.allclose(torch.cat([head.weights["a"], head.weights["b"]], dim=1), last.weight.double(), atol=1e-5)
    assert torch.allclose(head.logits(codes), model.decide(model.fuse(codes)).double(), atol=1e-5)


def test_a_head_that_is_not_linear_is_refused():
    model = network(("fourier", "pixels"))
    with pytest.raises(NotApplicable, match="not linear"):
        linear_head(model, {"fourier": torch.randn(5, 32), "pixels": torch.randn(5, 32)})
