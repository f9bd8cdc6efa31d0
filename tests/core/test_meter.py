"""A model under audit: taken apart or not the scores are the same, every pass is counted, nonsense is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import muroan.meter as meter_module
from muroan import Capability, Tabular, Text, TorchModel
from muroan.checks import PlantedModel, planted
from muroan.checks.bed import MODALITIES
from muroan.clean import Clean
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
    own = model.codes(batch)[1]
    new = {tuple(int(i[r]) for i in index.values()) for r in range(40)} - {
        tuple(int(i[r]) for i in own.values()) for r in range(N)
    }
    assert model.meter.counts["fuse"] == N + len(new)
    assert model.meter.counts["remembered fuse"] == 40 - len(new)
    assert model.meter.counts["remembered encode image"] == 2 * pictures
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


# Remembering


class Asked(Labelled):
    """Counts the rows that it is asked, and answers every question a little differently each time."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}

    def _count(self, what: str, n: int) -> None:
        self.rows[what] = self.rows.get(what, 0) + n

    def encode(self, modality, values):
        self._count(modality, len(values))
        return super().encode(modality, values)

    def decide(self, fused):
        self._count("decide", len(fused))
        return super().decide(fused) + sum(self.rows.values()) * 1e-3


X = torch.arange(16.0).view(8, 2)
PAIRS = {"a": torch.tensor([0, 1, 0, 2]), "b": torch.tensor([3, 3, 3, 4])}


@pytest.mark.parametrize("apart", [True, False])
def test_no_question_is_asked_twice(apart):
    model = Metered(Asked(), TABLES, apart=apart)
    codes = {m: model.encode(m, X) for m in TABLES}
    first = model.logits(codes, PAIRS)
    assert model.model.rows["decide"] == 3, "two of the four are equal"
    assert torch.equal(first[0], first[2])
    again = {m: model.encode(m, X.flip(0)) for m in TABLES}
    turned = {m: 7 - index.flip(0) for m, index in PAIRS.items()}
    assert torch.equal(model.logits(again, turned), first.flip(0)), "by content, wherever it stands"
    spread = {m: codes[m].take(index) for m, index in PAIRS.items()}
    assert torch.equal(model.logits(spread), first), "whether taken before or by index"
    asked = "fuse" if apart else "predict"
    assert model.model.rows["decide"] == model.meter.counts[asked] == 3
    assert model.meter.counts[f"remembered {asked}"] == 1 + 4 + 4
    assert model.meter.passes == 12, "whoever attacks the model has not been told"
    if apart:
        assert model.model.rows["a"] == model.meter.counts["encode a"] == 8


@pytest.mark.parametrize("apart", [True, False])
def test_some_known_and_some_new_stand_in_their_places(apart):
    known, plain = Metered(Labelled(), TABLES, apart=apart), Metered(Labelled(), TABLES, apart=apart, remember=False)
    g = torch.Generator().manual_seed(0)
    for _ in range(20):
        index = {m: torch.randint(0, 8, (30,), generator=g) for m in TABLES}
        values = {m: X[torch.randint(0, 8, (8,), generator=g)] for m in TABLES}
        present = {"a": torch.rand(30, generator=g) < 0.5}
        for there in (present, None):
            both = [m.logits({k: m.encode(k, v) for k, v in values.items()}, index, there) for m in (known, plain)]
            assert torch.equal(*both)
    assert known.meter.counts["remembered fuse" if apart else "remembered predict"] > 600
    assert not any(k.startswith("remembered") for k in plain.meter.counts)


@pytest.mark.parametrize("apart", [True, False])
def test_the_place_and_what_is_missing_make_another_question(apart):
    model = Metered(Asked(), TABLES, apart=apart)
    codes = {m: model.encode(m, X) for m in TABLES}
    one, other = torch.tensor([1]), torch.tensor([2])
    model.logits(codes, {"a": one, "b": other})
    model.logits(codes, {"a": other, "b": one})
    model.logits(codes, {"a": one, "b": other}, {"b": torch.tensor([False])})
    model.logits(codes, {"a": one, "b": other}, {"a": torch.tensor([False])})
    assert model.model.rows["decide"] == 4
    model.logits(codes, {"a": one, "b": other}, {"a": torch.tensor([True])})
    assert model.model.rows["decide"] == 4, "nothing is missing: the question of the first line"


@pytest.mark.parametrize("apart", [True, False])
def test_asked_anew_the_model_is_asked_and_nothing_is_remembered(apart, batch):
    model = Metered(Asked(), TABLES, apart=apart)
    codes = {m: model.encode(m, X) for m in TABLES}
    first = model.logits(codes, PAIRS)
    assert not torch.equal(model.logits(codes, PAIRS, anew=True), first)
    new = {m: model.encode(m, X, anew=True) for m in TABLES}
    assert not torch.equal(model.logits(new, PAIRS), first)
    assert not torch.equal(model.logits({**new, "a": codes["a"]}, PAIRS), first), "one new code is enough"
    assert torch.equal(model.logits(codes, PAIRS), first), "what was remembered stays"
    assert model.model.rows["decide"] == 3 + 3 * 4
    planted_one = metered(apart=apart)
    planted_one.of(batch)
    counts = dict(planted_one.meter.counts)
    planted_one.of(batch, anew=True)
    assert all(planted_one.meter.counts[k] == 2 * n for k, n in counts.items() if not k.startswith("remembered"))


def test_passes_with_a_graph_are_not_remembered(batch):
    model = metered()
    for _ in range(2):
        model.differentiable(batch.inputs)
    assert model.meter.counts == {"forward for gradients": 2 * N}


def test_what_was_no_answer_is_asked_again():
    class Failing(Asked):
        """Raises or answers NaN where the first number of `a` is 2, as long as it is told to."""

        how = "raise"

        def decide(self, fused):
            logits = super().decide(fused)
            bad = fused[:, 1] == 2 + X[3, 1]
            if self.how == "raise" and bool(bad.any()):
                raise RuntimeError("too much")
            return torch.where(bad[:, None] & (self.how == "nan"), torch.nan, logits)

    model = Metered(Failing(), TABLES)
    codes = {m: model.encode(m, X) for m in TABLES}
    index = {"a": torch.tensor([0, 1]), "b": torch.tensor([3, 3])}
    for how, error in (("raise", RuntimeError), ("nan", BadSample)):
        model.model.how = how
        with pytest.raises(error):
            model.logits(codes, index)
    model.model.how = "well"
    model.logits(codes, index)
    assert model.model.rows["decide"] == 3 * 2


def test_a_code_that_is_no_number_is_not_remembered(batch):
    class Nan(PlantedModel):
        def encode(self, modality, values):
            code = super().encode(modality, values).clone()
            code[0] = torch.nan
            return code

    model = Metered(Nan(), MODALITIES)
    model.encode("table", batch.inputs["table"])
    model.encode("table", batch.inputs["table"])
    assert model.meter.counts["encode table"] == N + 1


def test_codes_as_long_as_the_longest_text_of_their_call_stay_together():
    class Padded(Model):
        name, modalities, classes = "padded", ("a",), ("no", "yes")
        capabilities = frozenset({Capability.SCORES, Capability.FUSE})

        def encode(self, modality, values):
            longest = max(len(v) for v in values)
            return torch.tensor([[*map(float, map(ord, v)), *[0.0] * (longest - len(v))] for v in values])

    model = Metered(Padded(), {"a": Text()})
    assert model.encode("a", ["ab", "a"]).data.shape == (2, 2)
    assert model.encode("a", ["a", "abc", "ab"]).data.shape == (3, 3)
    assert model.encode("a", ["ab"]).data.tolist() == [[97, 98]]


def test_what_a_batch_knows_of_its_contents_is_not_read_again_and_is_dropped_with_them(batch, monkeypatch):
    model = metered()
    clean = Clean.observe(model, batch)
    expected = model.of(batch.take([5, 1]))
    monkeypatch.setattr(meter_module, "keys_of", lambda values: 1 / 0)
    known = clean.batch.take([5, 1])
    assert torch.equal(model.of(known), expected)
    for changed in (
        known.with_inputs(table=known.inputs["table"] + 1),
        replace(known, inputs={**known.inputs, "table": known.inputs["table"].clone()}),
    ):
        with pytest.raises(ZeroDivisionError):
            model.of(changed)


def test_only_codes_of_the_clean_pass_outlast_a_probe(batch):
    model = metered()
    clean = Clean.observe(model, batch)
    model.encode("text", ["another"])
    model.forget_codes(*clean.codes.values())
    model.meter.counts.clear()
    model.of(clean.batch)
    assert not any(k.startswith("encode") for k in model.meter.counts)
    model.encode("text", ["another"])
    assert model.meter.counts["encode text"] == 1
