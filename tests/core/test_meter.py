"""A model under audit: taken apart or not the scores are the same, every pass is counted, nonsense is refused."""

from __future__ import annotations

import pytest
import torch

import muroan.meter as meter_module
from muroan import Capability, Tabular, TorchModel
from muroan.checks import PlantedModel, planted
from muroan.checks.bed import MODALITIES
from muroan.errors import BadSample, CannotComplete, NotApplicable
from muroan.meter import Codes, Meter, Metered
from muroan.model import Model

N = 24


@pytest.fixture
def batch():
    return planted(N).audited.load(range(N)).batch


def metered(**options) -> Metered:
    return Metered(PlantedModel(), MODALITIES, **options)


def combinations(model: Metered, batch, rows: int = 40):
    codes, _ = model.codes(batch)
    g = torch.Generator().manual_seed(0)
    return codes, {m: torch.randint(0, codes[m].n, (rows,), generator=g) for m in codes}


class Labelled(Model):
    """Tells its fusion which modalities are there: the score of "yes" is how many are present."""

    name = "labelled"
    modalities = ("a", "b")
    classes = ("no", "yes")
    capabilities = frozenset({Capability.SCORES, Capability.FUSE, Capability.ABSENT, Capability.GRADIENTS})

    def encode(self, modality, values):
        return values[:, :1], values[:, 1:]  # a code may be a tuple

    def fuse(self, codes, present=None):
        n = len(codes["a"][0])
        here = [torch.ones(n) if not present or m not in present else present[m].float() for m in self.modalities]
        return torch.stack([sum(here), codes["a"][0][:, 0] + codes["b"][1][:, 0]], dim=1)

    def decide(self, fused):
        return torch.stack([fused[:, 1], fused[:, 0]], dim=1)


TABLES = {m: Tabular(columns=("x", "y")) for m in ("a", "b")}


# Apart or whole


def test_encoding_and_fusing_gives_what_predicting_gives(batch):
    expected = PlantedModel().predict(batch.inputs)
    assert torch.allclose(metered().of(batch), expected, atol=1e-6)
    assert torch.allclose(metered(apart=False).of(batch), expected, atol=1e-6)


def test_recombinations_are_the_same_apart_and_whole(batch):
    apart, whole = metered(), metered(apart=False)
    _, index = combinations(apart, batch)
    results = [m.logits(m.codes(batch)[0], index) for m in (apart, whole)]
    assert torch.allclose(*results, atol=1e-6)
    # By hand, one row: its parts come from three different samples.
    r = 7
    values = {m: batch.unique(m)[0] for m in MODALITIES}
    one = {m: (v[index[m][r] : index[m][r] + 1]) for m, v in values.items()}
    assert torch.allclose(PlantedModel().predict(one)[0], results[0][r], atol=1e-6)


@pytest.mark.parametrize("apart", [True, False])
def test_chunks_change_nothing(batch, apart, monkeypatch):
    def everything():
        model = metered(apart=apart)
        codes, index = combinations(model, batch)
        out = [model.of(batch), model.logits(codes, index), model.logits(codes, index, {})]
        out += [model.fused(codes, index)] if apart else []
        return out, model.meter.counts

    whole, counted = everything()
    monkeypatch.setattr(meter_module, "ENCODE_CHUNK", 5)
    monkeypatch.setattr(meter_module, "FUSE_CHUNK", 7)
    chunked, recounted = everything()
    for a, b in zip(whole, chunked, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert counted == recounted


@pytest.mark.parametrize("chunk", [1000, 3])
@pytest.mark.parametrize("apart", [True, False])
def test_a_model_that_handles_absence_is_told_row_by_row(apart, chunk, monkeypatch):
    monkeypatch.setattr(meter_module, "ENCODE_CHUNK", chunk)
    monkeypatch.setattr(meter_module, "FUSE_CHUNK", chunk)
    model = Metered(Labelled(), TABLES, apart=apart)
    x = torch.zeros(8, 2)
    codes = {m: model.encode(m, x) for m in ("a", "b")}
    index = {m: torch.arange(8) for m in codes}
    present = {"b": torch.tensor([True, False] * 4)}
    assert model.logits(codes, index, present)[:, 1].tolist() == [2, 1] * 4
    assert model.logits(codes, index)[:, 1].tolist() == [2] * 8
    if apart:
        assert model.fused(codes, index, present)[:, 0].tolist() == [2, 1] * 4


def test_nothing_in_nothing_out(batch):
    for apart in (True, False):
        assert metered(apart=apart).of(batch.take([])).shape == (0, 2)


def test_codes_are_taken_and_joined_whatever_their_shape():
    model = Metered(Labelled(), TABLES)
    codes = model.encode("a", torch.arange(8.0).view(4, 2))
    picked = codes.take(torch.tensor([3, 0]))
    assert (picked.n, picked.data[0].tolist(), picked.data[1].tolist()) == (2, [[6], [0]], [[7], [1]])
    again = Codes.concat([picked, codes])
    assert again.n == 6
    assert again.data[0].flatten().tolist() == [6, 0, 0, 2, 4, 6]
    texts = metered(apart=False).encode("text", ["a", "b"])
    assert not texts.encoded
    assert Codes.concat([texts, texts.take(torch.tensor([1]))]).data == ["a", "b", "b"]


# Counting


def test_every_row_is_counted_once_and_equal_values_once_only(batch):
    model = metered()
    model.of(batch)
    pictures = len(set(batch.keys["image"].tolist()))
    assert pictures == N // 2
    assert model.meter.counts == {"encode image": pictures, "encode text": N, "encode table": N, "fuse": N}
    codes, index = combinations(model, batch, rows=40)
    model.logits(codes, index)
    assert model.meter.counts["fuse"] == N + 40
    assert model.meter.seconds > 0


def test_a_model_taken_whole_is_counted_by_prediction(batch):
    model = metered(apart=False)
    model.of(batch)
    assert model.meter.counts == {"predict": N}


def test_passes_for_gradients_are_counted(batch):
    model = metered()
    x = batch.inputs["image"].clone().requires_grad_()
    score = model.differentiable({**batch.inputs, "image": x})[:, 1].sum()
    model.backward(score, [x], N)
    assert model.meter.counts == {"forward for gradients": N, "backward": N}


def test_meters_add_up():
    a, b = Meter({"fuse": 2}, 1.0), Meter({"fuse": 3, "predict": 1}, 0.5)
    a.merge(b)
    assert a.counts == {"fuse": 5, "predict": 1}
    assert a.seconds == 1.5


def test_a_pass_that_fails_was_still_made(batch):
    model = Metered(wrong(lambda z: 1 / 0), {"table": MODALITIES["table"]})
    with pytest.raises(ZeroDivisionError):
        model.of(batch)
    assert model.meter.counts["fuse"] == N


# Gradients


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("others", ["values", "codes", "embedded"])
def test_the_gradient_is_that_of_predicting(batch, apart, others):
    plain = batch.inputs["image"].clone().requires_grad_()
    PlantedModel().predict({**batch.inputs, "image": plain})[:, 1].sum().backward()
    model = metered(apart=apart)
    given = dict(batch.inputs)
    if others == "codes":
        given |= {m: model.encode(m, batch.inputs[m]) for m in ("text", "table")}
    if others == "embedded":
        given["text"] = model.model.embed("text", batch.inputs["text"])
    x = batch.inputs["image"].clone().requires_grad_()
    logits = model.differentiable({**given, "image": x})
    (found,) = model.backward(logits[:, 1].sum(), [x], N)
    assert torch.allclose(found, plain.grad, atol=1e-6)
    assert plain.grad.abs().max() > 0


@pytest.mark.parametrize("apart", [True, False])
def test_a_model_that_handles_absence_is_told_with_gradients_too(apart):
    model = Metered(Labelled(), TABLES, apart=apart)
    x = torch.zeros(4, 2, requires_grad=True)
    present = {"b": torch.tensor([True, False, True, False])}
    logits = model.differentiable({"a": x, "b": torch.zeros(4, 2)}, present)
    assert logits[:, 1].tolist() == [2, 1, 2, 1]
    (gradient,) = model.backward(logits[:, 0].sum(), [x], 4)
    assert gradient.tolist() == [[1, 0]] * 4


def test_gradients_reach_words_through_their_embeddings(batch):
    model = metered()
    embedded = model.model.embed("text", batch.inputs["text"])
    leaf = embedded.vectors.clone().requires_grad_()
    text = type(embedded)(leaf, embedded.mask, embedded.words)
    (found,) = model.backward(model.differentiable({**batch.inputs, "text": text})[:, 1].sum(), [leaf], N)
    assert (found[embedded.mask].abs().sum(dim=1) > 0).any()
    assert (found[~embedded.mask] == 0).all()


def test_scoring_without_gradients_keeps_no_graph(batch):
    x = batch.inputs["image"].clone().requires_grad_()
    assert not metered().of(batch.with_inputs(image=x)).requires_grad


# Refusing


def wrong(head) -> TorchModel:
    return TorchModel(
        encoders={"table": lambda x: x}, fusion=lambda c: c["table"], head=head, classes=["no", "yes"], gradients=False
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_a_bad_sample(batch, value):
    model = Metered(wrong(lambda z: torch.where(z[:, :1] > 0, value, 0.0).expand(-1, 2)), MODALITIES)
    with pytest.raises(BadSample, match="NaN or infinite"):
        model.of(batch)


@pytest.mark.parametrize(
    "head", [lambda z: z[:, :1], lambda z: z[0], lambda z: torch.zeros(len(z) + 1, 2), lambda z: z[..., None]]
)
def test_scores_of_another_shape_end_the_audit_with_the_shape(batch, head):
    with pytest.raises(CannotComplete, match=rf"for {N} samples and 2 classes, expected \({N}, 2\)"):
        Metered(wrong(head), MODALITIES).of(batch)


def test_what_the_model_lacks_is_named(batch):
    model = Metered(wrong(lambda z: z), MODALITIES)
    with pytest.raises(NotApplicable, match="needs gradients, which torch model does not have"):
        model.differentiable(batch.inputs)
    with pytest.raises(NotApplicable, match="embeddings, shadows"):
        model.require(Capability.SCORES, Capability.EMBEDDINGS, Capability.SHADOWS)
    model.require(Capability.SCORES)
