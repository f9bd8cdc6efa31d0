"""Two encoders: known answers on planted codes, of which it is plain who finds whom."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from muroan.errors import AskedWrongly
from muroan.model import Capability, Embedded
from muroan.models.two_encoder import FOUND, TwoEncoder

COMPASS = {"east": 0.0, "north": 90.0, "west": 180.0, "south": 270.0}


def at(*degrees: float) -> Tensor:
    """Directions in the plane."""
    turned = torch.tensor(degrees) * math.pi / 180
    return torch.stack([turned.cos(), turned.sin()], dim=1)


class Turn(nn.Module):
    """Codes of points [N, 2]: turned by an angle, three times as long."""

    def __init__(self) -> None:
        super().__init__()
        self.angle = nn.Parameter(torch.zeros(()))

    def forward(self, points: Tensor) -> Tensor:
        c, s = self.angle.cos(), self.angle.sin()
        return 3 * points @ torch.stack([torch.stack([c, s]), torch.stack([-s, c])])


class Compass(nn.Module):
    """Texts of names of directions: the sum of one vector a word."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(at(*COMPASS.values()))

    def embed(self, texts: list[str]) -> Embedded:
        longest = max([1, *(len(t.split()) for t in texts)])
        words = torch.full((len(texts), longest), -1)
        vectors = torch.zeros(len(texts), longest, 2)
        for n, text in enumerate(texts):
            for t, word in enumerate(text.split()):
                words[n, t], vectors[n, t] = t, self.table[list(COMPASS).index(word)]
        return Embedded(vectors=vectors, mask=words >= 0, words=words)

    def encode_embedded(self, embedded: Embedded) -> Tensor:
        return (embedded.vectors * embedded.mask[..., None]).sum(dim=1)

    def forward(self, texts: list[str]) -> Tensor:
        return self.encode_embedded(self.embed(texts))


def planted(scale: float = 1.0) -> TwoEncoder:
    text = Compass()
    return TwoEncoder(
        encoders={"point": Turn(), "text": text},
        scale=scale,
        text="text",
        embed=text.embed,
        encode_embedded=text.encode_embedded,
    )


def points() -> TwoEncoder:
    """Two modalities of points, whose codes are themselves."""
    return TwoEncoder(encoders={"a": nn.Identity(), "b": nn.Identity()})


# Codes


def test_codes_have_length_1_whatever_the_encoder_gives() -> None:
    codes = planted().encode("point", at(10, 200) * 7)
    assert torch.allclose(codes, at(10, 200), atol=1e-6)


def test_embeddings_give_the_code_of_the_text_and_gradients_reach_them() -> None:
    towers = planted()
    texts = ["north east", "west", ""]
    embedded = towers.embed(texts)
    assert torch.equal(towers.encode_embedded(embedded), towers.encode("text", texts))
    assert torch.allclose(towers.encode("text", texts[:1]), at(45), atol=1e-6)
    vectors = embedded.vectors.detach().requires_grad_()
    code = towers.encode_embedded(Embedded(vectors=vectors, mask=embedded.mask, words=embedded.words))
    (grad,) = torch.autograd.grad(code[0] @ at(0)[0], vectors)
    assert bool((grad[0] != 0).any())
    assert not bool((grad[1:] != 0).any())


def test_what_is_not_there_is_not_declared() -> None:
    bare = points().retrieval({"a": at(0), "b": at(0)})
    assert bare.capabilities == {
        Capability.SCORES,
        Capability.FUSE,
        Capability.GRADIENTS,
        Capability.ALIGNED,
        Capability.TRAIN,
    }
    functions = TwoEncoder(encoders={"a": lambda x: x, "b": lambda x: 2 * x})
    assert Capability.TRAIN not in functions.retrieval({"a": at(0), "b": at(0)}).capabilities
    towers = planted()
    assert Capability.EMBEDDINGS in towers.retrieval({"point": at(0), "text": ["east"]}).capabilities
    assert Capability.EMBEDDINGS not in towers.zero_shot(list(COMPASS)).capabilities


def test_a_module_that_several_parts_hold_is_trained_once() -> None:
    parts = planted().retrieval({"point": at(0), "text": ["east"]}).trainable()
    assert [type(p) for p in parts.values()] == [Turn, Compass]
    shared = nn.Linear(2, 2)
    both = TwoEncoder(encoders={"a": shared, "b": lambda x: shared(-x)})
    assert list(both.parts().values()) == [shared]


# Zero-shot


def test_the_nearest_class_wins_with_scaled_cosines_as_logits() -> None:
    model = planted(scale=5.0).zero_shot(list(COMPASS))
    assert model.modalities == ("point",)
    logits = model.predict({"point": at(80, 190) * 4})
    assert torch.allclose(logits, 5 * at(80, 190) @ at(*COMPASS.values()).T, atol=1e-5)
    assert logits.argmax(dim=1).tolist() == [1, 2]


def test_prompts_and_texts_of_a_class_are_averaged_as_directions() -> None:
    by_prompts = planted().zero_shot(["east", "west"], ["{}", "north {} "])
    assert torch.allclose(by_prompts.fixed()["classes"], at(22.5, 157.5), atol=1e-6)
    by_texts = planted().zero_shot(["up", "down"], texts={"up": ["north", "east east east"], "down": ["south"]})
    assert torch.allclose(by_texts.fixed()["classes"], at(45, 270), atol=1e-6)
    fewer = planted().zero_shot(["up", "down"], texts={"up": ["north"], "down": ["south"]})
    assert by_texts.fingerprint() != fewer.fingerprint()


def test_zero_shot_asked_wrongly() -> None:
    with pytest.raises(AskedWrongly, match="no text encoder"):
        points().zero_shot(["x"])
    with pytest.raises(AskedWrongly, match=r"place \{\}"):
        planted().zero_shot(["east"], ["north"])
    with pytest.raises(AskedWrongly, match="texts has none for 'down'"):
        planted().zero_shot(["up", "down"], texts={"up": ["north"], "down": []})


# Retrieval: partners of a and b at these angles; one distractor each


@pytest.mark.parametrize(
    ("a", "b", "gallery_a", "gallery_b", "first", "second"),
    [
        (0, 10, 90, 90, True, True),
        (0, 10, 90, 5, False, True),  # a's nearest b is the distractor at 5
        (0, 10, 5, 90, True, False),  # b's nearest a is the distractor at 5
        (0, 10, 5, 5, False, False),
        (0, 10, 90, -10, False, True),  # a distractor as near as the partner counts as nearer
    ],
)
def test_who_finds_whom(a: float, b: float, gallery_a: float, gallery_b: float, first: bool, second: bool) -> None:
    towers, pair = points(), {"a": at(a), "b": at(b)}
    gallery = {"a": at(gallery_a, 180), "b": at(gallery_b, 180)}

    def found(way: str) -> bool:
        logits = towers.retrieval(gallery, way).predict(pair)  # type: ignore[arg-type]
        assert math.isclose(float(logits[0, 1]), math.cos(math.radians(b - a)), abs_tol=1e-5)
        return FOUND[int(logits.argmax(dim=1))] == "found"

    assert (found("first"), found("second"), found("both")) == (first, second, first and second)


def test_the_nearest_distractor_is_the_other_logit() -> None:
    model = planted(scale=2.0).retrieval({"text": ["west", "north"]}, "first")
    logits = model.predict({"point": at(30), "text": ["east"]})
    assert torch.allclose(logits, 2 * torch.tensor([[0.5, math.cos(math.pi / 6)]]), atol=1e-5)


def test_a_model_whose_codes_are_all_alike_finds_nothing() -> None:
    dead = TwoEncoder(encoders={"a": lambda x: torch.ones_like(x), "b": lambda x: torch.ones_like(x)})
    logits = dead.retrieval({"a": at(0), "b": at(0)}).predict({"a": at(1, 2, 3), "b": at(1, 2, 3)})
    assert logits.argmax(dim=1).tolist() == [0, 0, 0]


def test_retrieval_asked_wrongly() -> None:
    with pytest.raises(AskedWrongly, match="no b to tell"):
        points().retrieval({"a": at(0)})
    with pytest.raises(AskedWrongly, match="'third'"):
        points().retrieval({"a": at(0), "b": at(0)}, "third")  # type: ignore[arg-type]
    with pytest.raises(AskedWrongly, match="needs two modalities"):
        TwoEncoder(encoders={"a": nn.Identity()}).retrieval({"a": at(0)})
    with pytest.raises(AskedWrongly, match="got 3"):
        TwoEncoder(encoders=dict.fromkeys("abc", nn.Identity()))


# What is fixed follows the weights


def test_a_gallery_is_encoded_again_once_weights_change_and_only_then() -> None:
    towers = planted()
    model = towers.retrieval({"point": at(0), "text": ["east"]})
    before = model.fixed()
    assert model.fixed() is before
    turn = model.trainable()["point"]
    assert isinstance(turn, Turn)
    with torch.no_grad():
        turn.angle.fill_(math.pi / 2)
    assert torch.allclose(model.fixed()["point"], at(90), atol=1e-6)
    now = model.fixed()
    turn.load_state_dict({"angle": torch.tensor(math.pi)})
    assert model.fixed() is not now
    assert torch.allclose(model.fixed()["point"], at(180), atol=1e-6)
    optimiser = torch.optim.SGD(turn.parameters(), lr=1.0)
    turn.angle.grad = torch.tensor(-math.pi / 2)
    optimiser.step()
    assert torch.allclose(model.fixed()["point"], at(270), atol=1e-6)
    turn.angle.data = torch.tensor(0.0)
    assert torch.allclose(model.fixed()["point"], at(0), atol=1e-6)


def test_class_codes_do_not_notice_that_the_other_encoder_is_trained() -> None:
    model = planted().zero_shot(list(COMPASS))
    before = model.fixed()
    with torch.no_grad():
        model.trainable()["point"].angle.add_(1.0)  # type: ignore[operator]
    assert model.fixed() is before


def test_a_copy_follows_its_own_weights() -> None:
    model = planted().retrieval({"point": at(0), "text": ["east"]})
    model.fixed()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.trainable()["point"].angle.fill_(math.pi / 2)  # type: ignore[union-attr, operator]
    assert torch.allclose(other.fixed()["point"], at(90), atol=1e-6)
    assert torch.allclose(model.fixed()["point"], at(0), atol=1e-6)


def test_a_fingerprint_changes_with_weights_scale_and_gallery() -> None:
    def one(towers: TwoEncoder, text: str = "east") -> str:
        return towers.retrieval({"point": at(0), "text": [text]}).fingerprint()

    assert one(planted()) == one(planted())
    turned = planted()
    with torch.no_grad():
        turned.parts()["point"].angle.fill_(0.1)  # type: ignore[union-attr, operator]
    closed = [
        TwoEncoder(encoders={"a": nn.Identity(), "b": lambda x, t=t: x @ t}) for t in (torch.eye(2), -torch.eye(2))
    ]
    assert len({one(planted()), one(planted(), "west"), one(planted(2.0)), one(turned)}) == 4
    assert closed[0].fingerprint() != closed[1].fingerprint()  # a tensor that a function closes over is a weight
