"""The transformer with a choice of the fusion layer: masks hide, no row is empty, sizes agree; and the search."""

import numpy as np
import pytest
import torch

from muroan import checks
from muroan.checks.bed import SIDE, VOCABULARY, PlantedModel
from muroan.data.memory import InMemory
from muroan.errors import AskedWrongly
from muroan.modality import Tabular
from muroan.models.fusion_transformer import FusionTransformer, Pieces, Words
from muroan.robustness.distribution_shift.fusion_layer import search_fusion_layer

CLASSES = ("no", "yes")


def network(fusion_layer: int, seed: int = 0, layers: int = 2) -> FusionTransformer:
    torch.manual_seed(seed)
    return FusionTransformer(
        {"left": Pieces(5, 2, 8), "right": Pieces(3, 3, 8)},
        classes=CLASSES,
        fusion_layer=fusion_layer,
        layers=layers,
        dim=8,
        heads=2,
        seed=seed,
    )


def inputs(n: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {"left": torch.randn(n, 5, generator=generator), "right": torch.randn(n, 3, generator=generator)}


def views(n: int, name: str) -> InMemory:
    """The label is the sign of left's first value, which right repeats, faintly."""
    rng = np.random.default_rng([n, *name.encode()])
    left = rng.normal(size=(n, 5)).astype(np.float32)
    right = rng.normal(size=(n, 3)).astype(np.float32)
    right[:, 0] += left[:, 0]
    kinds = {"left": Tabular(columns=tuple("abcde")), "right": Tabular(columns=tuple("abc"))}
    return InMemory(
        {"left": left, "right": right},
        targets=(left[:, 0] > 0).astype(int),
        modalities=kinds,
        classes=CLASSES,
        ids=[f"{name} {i}" for i in range(n)],
    )


@pytest.mark.parametrize("fusion_layer", [0, 1, 2])
def test_what_an_absent_input_says_does_not_matter_and_nothing_is_nan(fusion_layer: int) -> None:
    model, x = network(fusion_layer), inputs()
    gone = torch.zeros(6, dtype=torch.bool)
    for m in x:
        other = {**x, m: x[m] * 100 - 7}
        a, b = model.predict(x, {m: gone}), model.predict(other, {m: gone})
        assert torch.equal(a, b)
        assert not torch.allclose(a, model.predict(x))
    nothing = model.predict(x, dict.fromkeys(x, gone))
    assert bool(torch.isfinite(nothing).all())
    assert torch.allclose(nothing, nothing[:1].expand(6, -1))


def test_gradients_are_finite_with_everything_masked() -> None:
    model, x = network(0), inputs()
    gone = torch.zeros(6, dtype=torch.bool)
    with torch.enable_grad():
        loss = model.predict(x, dict.fromkeys(x, gone)).square().sum() + model.predict(x, {"left": gone}).square().sum()
        found = torch.autograd.grad(loss, list(model.trainable().parameters()), allow_unused=True)
    assert all(bool(torch.isfinite(g).all()) for g in found if g is not None)


def test_inputs_see_each_other_from_the_fusion_layer_on() -> None:
    x = inputs()
    other = {**x, "right": x["right"] + 1}
    for fusion_layer in (0, 1, 2):
        model = network(fusion_layer)
        seen = []
        for given in (x, other):
            tokens: list[torch.Tensor] = []
            hooks = [b.register_forward_hook(lambda m, i, out, t=tokens: t.append(out)) for b in model._blocks]
            model.predict(given)
            for h in hooks:
                h.remove()
            seen.append(tokens)
        # The first three tokens are left's: its own until the inputs are fused.
        apart = [torch.equal(a[:, :3], b[:, :3]) for a, b in zip(*seen, strict=True)]
        assert apart == [k < fusion_layer for k in range(2)]


def test_every_choice_has_the_same_parameters_and_other_scores() -> None:
    models = [network(k) for k in range(3)]
    assert len({m.parameters for m in models}) == 1
    x = inputs()
    scores = [m.predict(x) for m in models]
    assert not torch.allclose(scores[0], scores[1])
    assert not torch.allclose(scores[1], scores[2])
    state = models[0].trainable().state_dict()
    assert all(torch.equal(t, models[2].trainable().state_dict()[n]) for n, t in state.items())


def test_presence_differs_by_row() -> None:
    model, x = network(1), inputs()
    some = torch.tensor([True, False, True, False, True, False])
    mixed = model.predict(x, {"left": some})
    whole, without = model.predict(x), model.predict(x, {"left": torch.zeros(6, dtype=torch.bool)})
    assert torch.allclose(mixed, torch.where(some[:, None], whole, without), atol=1e-6)


def test_words_know_their_vocabulary_and_nothing() -> None:
    words = Words(("red", "blue"), 3, 4)
    codes = words(["red blue", "red green", ""])
    assert codes.shape == (3, 3, 4)
    assert torch.equal(codes[0, 0], codes[1, 0])
    assert not torch.equal(codes[0, 1], codes[1, 1])


def on_the_planted_world() -> FusionTransformer:
    torch.manual_seed(0)
    tokens = {"image": Pieces(3 * SIDE * SIDE, 4, 8), "text": Words(VOCABULARY[1:], 8, 8), "table": Pieces(2, 1, 8)}
    return FusionTransformer(tokens, classes=PlantedModel.classes, fusion_layer=1, dim=8, heads=2)


@pytest.mark.parametrize("check", checks.of(on_the_planted_world()), ids=str)
def test_contracts(check: checks.Check) -> None:
    check()


def trained(fusion_layer: int) -> FusionTransformer:
    """Choice 1 is trained, the others stay as they are: the answer of the search is known."""
    model = network(fusion_layer)
    if fusion_layer != 1:
        return model
    batch = views(200, "train").load(range(200)).batch
    assert batch is not None
    optimiser = torch.optim.Adam(model.trainable().parameters(), lr=1e-2)
    with torch.enable_grad():
        for _ in range(40):
            loss = torch.nn.functional.cross_entropy(model.predict(batch.inputs), batch.targets)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return model


def test_the_search_finds_the_better_choice_and_scores_it_alone_on_test() -> None:
    asked: list[int] = []

    def make(k: int) -> FusionTransformer:
        asked.append(k)
        return trained(k)

    found = search_fusion_layer(make, 2, views(150, "validation"), views(160, "test"), rate=0.5)
    assert asked == [0, 1, 2]
    assert len(found.validation) == 3
    assert found.chosen == 1
    assert found.validation[1].value > max(found.validation[0].value, found.validation[2].value)
    assert (found.test.n, found.validation[0].n) == (160, 150)
    assert found.parameters == found.model.parameters
    assert "fused from layer 1" in found.note
    # At rate 0 the score is the plain accuracy.
    batch = views(160, "test").load(range(160)).batch
    assert batch is not None
    plain = search_fusion_layer(lambda k: found.model, 0, views(150, "validation"), views(160, "test"), rate=0.0)
    right = (found.model.predict(batch.inputs).argmax(dim=1) == batch.targets).float().mean()
    assert plain.test.value == pytest.approx(float(right))


def test_the_search_refuses_what_would_not_be_fair() -> None:
    with pytest.raises(AskedWrongly, match="both validation and test"):
        search_fusion_layer(network, 1, views(20, "same"), views(20, "same"))
    with pytest.raises(AskedWrongly, match="equally large"):
        search_fusion_layer(lambda k: network(0, layers=k + 1), 1, views(20, "a"), views(20, "b"))
    with pytest.raises(AskedWrongly):
        network(3)
