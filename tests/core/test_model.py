"""Models: taken apart or black boxes, and fingerprints that change when the weights do."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from muroan import BlackBox, Capability, TorchModel
from muroan.errors import AskedWrongly, BadSample, CannotComplete, NotApplicable
from muroan.meter import Metered
from muroan.modality import Tabular
from muroan.model import Model, rows, weights_fingerprint

CLASSES = ["a", "b", "c"]


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU())


def taken_apart(left=None, right=None, head=None, **options) -> TorchModel:
    return TorchModel(
        encoders={"left": left or network(1), "right": right or network(2)},
        fusion=lambda codes: codes["left"] + codes["right"],
        head=head or nn.Linear(8, 3),
        classes=CLASSES,
        **options,
    )


@pytest.fixture
def inputs():
    g = torch.Generator().manual_seed(0)
    return {m: torch.randn(5, 4, generator=g) for m in ("left", "right")}


# TorchModel


def test_predicting_is_encoding_fusing_and_deciding(inputs):
    left, right, head = network(1), network(2), nn.Linear(8, 3)
    model = taken_apart(left, right, head)
    with torch.no_grad():
        expected = head(left(inputs["left"]) + right(inputs["right"]))
        assert torch.equal(model.predict(inputs), expected)
        apart = model.decide(model.fuse({m: model.encode(m, v) for m, v in inputs.items()}))
    assert torch.equal(apart, expected)
    assert model.modalities == ("left", "right")
    assert model.classes == ("a", "b", "c")


def test_modules_are_put_into_evaluation_mode(inputs):
    model = taken_apart()
    assert torch.equal(model.predict(inputs), model.predict(inputs))  # or dropout would draw anew
    one = {m: v[:1] for m, v in inputs.items()}
    assert torch.allclose(model.predict(one), model.predict(inputs)[:1], atol=1e-6)  # and batch norm see the batch


def test_a_model_says_what_it_can():
    shown = {Capability.SCORES, Capability.FUSE, Capability.GRADIENTS}
    assert taken_apart().capabilities - {Capability.TRAIN} == shown
    modules = TorchModel(encoders={"x": nn.Linear(2, 2)}, fusion=lambda c: c["x"], head=lambda f: f, classes=("a", "b"))
    assert modules.capabilities == shown | {Capability.TRAIN}
    assert list(modules.trainable()) == ["encoder x"]
    functions = TorchModel(encoders={"x": lambda v: v}, fusion=lambda c: c["x"], head=lambda f: f, classes=("a", "b"))
    assert functions.capabilities == shown
    assert Capability.GRADIENTS not in taken_apart(gradients=False).capabilities
    for missing in (
        lambda m: m.embed("left", ["x"]),
        lambda m: m.encode_embedded("left", None),
        lambda m: m.shadows(),
    ):
        with pytest.raises(NotApplicable):
            missing(taken_apart())


def test_codes_may_be_tuples():
    model = TorchModel(
        encoders={"x": lambda v: (v, (v + 1, v + 2))},
        fusion=lambda c: c["x"][0] + c["x"][1][1],
        head=lambda z: z,
        classes=["a", "b"],
    )
    x = torch.arange(6.0).view(3, 2)
    assert torch.equal(model.predict({"x": x}), 2 * x + 2)
    assert torch.equal(rows(model.encode("x", x), torch.tensor([2]))[1][0], x[2:] + 1)


# Fingerprints


def test_equal_weights_have_equal_fingerprints_and_others_do_not():
    assert weights_fingerprint(network(1)) == weights_fingerprint(network(1))
    assert weights_fingerprint(network(1)) != weights_fingerprint(network(2))
    changed = network(1)
    changed[1].num_batches_tracked += 1  # a buffer without axes
    assert weights_fingerprint(changed) != weights_fingerprint(network(1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_weights_of_any_type_have_a_fingerprint(dtype):
    assert len(weights_fingerprint(nn.Linear(2, 2).to(dtype))) == 24


GLOBAL = nn.Linear(4, 8)


def through_a_global(x):
    return GLOBAL(x)


def hidden(net: nn.Module, how: str):
    if how == "module":
        return net
    if how == "method":
        return net.forward
    if how == "lambda":
        return lambda x: net(x.float())
    if how == "partial":
        return partial(lambda inner, x: inner(x), net)
    if how == "default":
        return lambda x, inner=net: inner(x)
    if how == "comprehension":
        return lambda x: torch.stack([net(row) for row in x])
    weights = net.weight.detach()  # "tensor": no module at all
    return lambda x: x @ weights.T


@pytest.mark.parametrize("how", ["module", "method", "lambda", "partial", "default", "comprehension", "tensor"])
def test_the_fingerprint_changes_with_weights_that_a_function_hides(how):
    net, head = nn.Linear(4, 8), nn.Linear(8, 3)
    model = taken_apart(left=hidden(net, how), head=head)
    before = model.fingerprint()
    assert model.fingerprint() == before
    with torch.no_grad():
        net.weight[0, 0] += 1
    assert model.fingerprint() != before


def test_the_fingerprint_changes_with_a_global_that_a_function_names():
    model = taken_apart(left=through_a_global, right=lambda x: [GLOBAL(r) for r in x])
    before = model.fingerprint()
    with torch.no_grad():
        GLOBAL.bias += 1
    assert model.fingerprint() != before
    assert model.fingerprint().count("+") == 0  # each part's own, once


def test_a_function_that_names_itself_ends():
    def encoder(x):
        return encoder(x) if len(x) < 0 else x

    assert taken_apart(left=encoder).fingerprint()


def test_the_head_counts_too():
    assert taken_apart(head=nn.Linear(8, 3)).fingerprint() != taken_apart(head=nn.Linear(8, 3)).fingerprint()


# BlackBox


def box(result, output: str) -> BlackBox:
    return BlackBox(lambda inputs: result, modalities=("x",), classes=CLASSES, output=output)


def test_probabilities_become_logs_and_zero_stays_finite():
    out = box([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]], "probabilities").predict({"x": torch.zeros(2, 1)})
    assert out[0].tolist() == pytest.approx([np.log(0.5), np.log(0.25), np.log(0.25)], abs=1e-6)
    assert out[1].tolist() == [0, -100, -100]
    assert out.softmax(dim=1)[0].tolist() == pytest.approx([0.5, 0.25, 0.25])


def test_logits_are_taken_as_they_are():
    found = box(np.array([[1, -2, 3]]), "logits").predict({"x": torch.zeros(1, 1)})
    assert found.tolist() == [[1, -2, 3]]
    assert found.dtype == torch.float32


def test_labels_become_one_hot_and_are_no_scores():
    model = box([2, 0], "labels")
    assert model.predict({"x": torch.zeros(2, 1)}).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert Capability.SCORES not in model.capabilities
    assert Capability.SCORES in box([], "logits").capabilities


def test_another_kind_of_output_is_asked_wrongly():
    with pytest.raises(AskedWrongly, match="'probabilities', 'logits' or 'labels'"):
        box([], "scores")


def test_a_black_box_sees_its_modalities_and_no_others():
    seen = []
    model = BlackBox(
        lambda inputs: seen.append(sorted(inputs)) or np.ones((1, 3)), modalities=("x", "y"), classes=CLASSES
    )
    model.predict({"y": [""], "x": torch.zeros(1, 1), "z": [""]})
    assert seen == [["x", "y"]]
    with pytest.raises(NotApplicable):
        model.encode("x", torch.zeros(1, 1))


@pytest.mark.parametrize(
    ("result", "error"),
    [([[0.5, 0.5]], CannotComplete), ([[float("nan"), 0, 1]], BadSample), ([[-0.1, 0.6, 0.5]], BadSample)],
)
def test_what_is_no_distribution_over_the_classes_is_refused(result, error):
    model = Metered(box(result, "probabilities"), {"x": Tabular(columns=("c",))})
    with pytest.raises(error):
        model.logits({"x": model.encode("x", torch.zeros(1, 1))})


def test_a_model_that_implements_nothing_says_so():
    with pytest.raises(NotApplicable):
        Model().fuse({})
    with pytest.raises(NotApplicable):
        Model().decide(torch.zeros(1, 1))
