"""The shipped model: that it is as good as its card says, and that everything it declares it can do holds."""

import json
import re
import struct
from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from muroan.batch import Batch
from muroan.data.easy_vqa import LEXICON, MEAN_COLOUR, EasyVQA, easy_vqa
from muroan.errors import CannotComplete
from muroan.model import Capability, Embedded
from muroan.models.easy_vqa import EasyVQAModel, easy_vqa_model
from muroan.models.easy_vqa.card import accuracy, scores
from muroan.models.easy_vqa.examples import Examples, gather
from muroan.models.easy_vqa.network import Network, build_vocabulary, halve, tokenise, word_index
from muroan.models.easy_vqa.recipe import Recipe, balanced_halves, parameters, train
from muroan.models.easy_vqa.train import Trainer, main
from muroan.models.easy_vqa.weights import Trained, load, save
from muroan.randomness import choose

FOLDER = files("muroan.models.easy_vqa")
WEIGHTS = ("target.safetensors", "shadows.safetensors")


@pytest.fixture(scope="module")
def model() -> EasyVQAModel:
    return easy_vqa_model()


@pytest.fixture(scope="module")
def test_split() -> Examples:
    return gather([EasyVQA("test")])


@pytest.fixture(scope="module")
def member_split() -> Examples:
    members = easy_vqa().members
    assert isinstance(members, EasyVQA)
    return gather([members])


@pytest.fixture(scope="module")
def batch() -> Batch:
    data = EasyVQA("test")
    loaded = data.load(choose(data.ids, 2000, "test of the shipped model")).batch
    assert loaded is not None
    return loaded


# What it answers


def test_it_answers_random_test_questions_with_honest_confidence(model: EasyVQAModel, batch: Batch) -> None:
    probabilities = model.predict(batch.inputs).softmax(dim=1)
    confidence, answer = probabilities.max(dim=1)
    right = (answer == batch.targets).float()
    assert right.mean() >= 0.95
    assert abs(confidence.mean() - right.mean()) < 0.015


def test_its_answers_need_both_the_picture_and_the_question(model: EasyVQAModel, test_split: Examples) -> None:
    neutral = torch.tensor(MEAN_COLOUR).view(1, 3, 1, 1).expand(len(test_split.names), 3, 64, 64)
    without_picture = accuracy(scores(model, test_split, pictures=neutral), test_split)
    without_question = accuracy(scores(model, test_split, questions=[""] * len(test_split.questions)), test_split)
    swapped = accuracy(scores(model, test_split, pictures=test_split.values().roll(1, dims=0)), test_split)
    assert without_picture.high < 0.75
    assert without_question.high < 0.5
    assert swapped.high < 0.7


def test_the_card_says_what_the_shipped_weights_do(model: EasyVQAModel, test_split: Examples) -> None:
    card = (FOLDER / "CARD.md").read_text(encoding="utf-8")
    row = re.search(r"\| test split \| ([\d.]+) \[([\d.]+), ([\d.]+)\] n=(\d+) in (\d+) clusters \|", card)
    assert row is not None
    measured = accuracy(scores(model, test_split), test_split)
    assert [float(v) for v in row.groups()] == pytest.approx(
        [measured.value, measured.low, measured.high, measured.n, 1000], abs=1e-3
    )
    assert f"{parameters(model.network):,} parameters" in card
    assert ", ".join(model.vocabulary) in card


def test_its_classes_and_words_are_those_of_the_data(
    model: EasyVQAModel, test_split: Examples, member_split: Examples
) -> None:
    assert model.classes == EasyVQA("test").schema.classes
    assert model.vocabulary == build_vocabulary(member_split.questions)
    assert set(build_vocabulary(test_split.questions)) <= set(model.vocabulary)
    for word, others in LEXICON:
        assert word in model.vocabulary
        assert not set(others) & set(model.vocabulary)


def test_the_colour_of_an_erased_pixel_is_the_mean_of_the_training_pictures(member_split: Examples) -> None:
    mean = member_split.pictures.double().mean(dim=(0, 2, 3)) / 255
    assert tuple(round(float(v), 3) for v in mean) == MEAN_COLOUR


# What it declares


def test_encode_fuse_decide_is_predict(model: EasyVQAModel, batch: Batch) -> None:
    codes = {m: model.encode(m, batch.inputs[m]) for m in model.modalities}
    assert torch.equal(model.decide(model.fuse(codes)), model.predict(batch.inputs))


def test_a_row_has_the_same_scores_alone_and_in_a_batch(model: EasyVQAModel, batch: Batch) -> None:
    few = batch.take(range(40)).with_inputs(question=["", "?", "is", "what " * 30, *batch.inputs["question"][4:40]])
    together = model.predict(few.inputs)
    alone = torch.cat([model.predict(few.take([i]).inputs) for i in range(len(few))])
    assert torch.allclose(together, alone, atol=1e-5)


def test_no_rows_give_no_scores(model: EasyVQAModel) -> None:
    assert model.predict({"image": torch.zeros(0, 3, 64, 64), "question": []}).shape == (0, 13)


def test_encoding_embedded_words_is_encoding_the_text(model: EasyVQAModel, batch: Batch) -> None:
    texts = ["", "?", "Is there, perhaps, a RED shape ?", *batch.inputs["question"][:200]]
    embedded = model.embed("question", texts)
    assert torch.allclose(model.encode_embedded("question", embedded), model.encode("question", texts), atol=1e-6)
    assert torch.equal(embedded.mask, embedded.words >= 0)


def test_only_questions_have_embeddings(model: EasyVQAModel) -> None:
    with pytest.raises(ValueError, match="image"):
        model.embed("image", ["is there a circle?"])


def test_tokens_know_their_whitespace_word() -> None:
    index = word_index(["image", "the"])
    tokens, words = tokenise(["the ? IMAGE?", "", "  what the"], index)
    assert tokens.tolist() == [[3, 2], [0, 0], [1, 3]]
    assert words.tolist() == [[0, 2], [-1, -1], [0, 1]]


def test_case_punctuation_and_order_do_not_matter_and_strange_words_are_alike(model: EasyVQAModel) -> None:
    codes = model.encode(
        "question",
        [
            "is there a red circle in the image?",
            "In the image ; is THERE a (red) circle",
            "is there a mauve circle in the image?",
            "is there a цвет circle in the image?",
            "is there a blue circle in the image?",
        ],
    )
    assert torch.allclose(codes[0], codes[1], atol=1e-5)
    assert torch.equal(codes[2], codes[3])
    for other in (2, 4):
        assert (codes[0] - codes[other]).norm() > 0.1 * codes[0].norm()


def test_an_empty_question_is_answered_from_the_picture(model: EasyVQAModel, batch: Batch) -> None:
    empty = batch.without("question")
    assert set(empty.inputs["question"]) == {""}
    logits = model.predict(empty.inputs)
    assert torch.isfinite(logits).all()
    assert (logits.std(dim=0) > 0.01).any()


def test_gradients_reach_pixels_and_words(model: EasyVQAModel, batch: Batch) -> None:
    few = batch.take(range(64))
    pictures = few.inputs["image"].clone().requires_grad_()
    embedded = model.embed("question", few.inputs["question"])
    vectors = embedded.vectors.detach().requires_grad_()

    def lead(pictures: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """The right answer's logit over the next one's; the cross-entropy of many samples is 0 to the last bit."""
        question = model.encode_embedded("question", Embedded(vectors, embedded.mask, embedded.words))
        logits = model.decide(model.fuse({"image": model.encode("image", pictures), "question": question}))
        right = torch.nn.functional.one_hot(few.targets, len(model.classes)).bool()
        return logits[right] - logits.masked_fill(right, -torch.inf).amax(dim=1)

    start = lead(pictures, vectors)
    pixel_gradient, word_gradient = torch.autograd.grad(start.sum(), [pictures, vectors])
    assert (pixel_gradient.flatten(1).abs().amax(dim=1) > 0).all()
    assert (word_gradient.norm(dim=2)[embedded.mask] > 0).all()
    assert (word_gradient[~embedded.mask] == 0).all()
    assert (lead(pictures - 0.01 * pixel_gradient.sign(), vectors) < start).all()
    assert (lead(pictures, vectors - 0.01 * word_gradient.sign()) < start).all()
    assert all(p.grad is None and not p.requires_grad for p in model.network.parameters())


def test_the_fingerprint_is_of_the_weights(model: EasyVQAModel) -> None:
    again = easy_vqa_model()
    assert again.fingerprint() == model.fingerprint()
    again.network.head.bias[0] += 1e-3
    assert again.fingerprint() != model.fingerprint()
    prints = {s.model.fingerprint().split(":")[1] for s in model.shadows()}
    assert len(prints) == 8


def test_loading_and_training_leave_the_global_generator_alone(test_split: Examples) -> None:
    before = torch.get_rng_state()
    easy_vqa_model().shadows()
    _small(test_split, pictures=8, seed=0, epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


# The weights


def test_the_weights_are_small_and_nothing_is_pickled() -> None:
    assert sum(len((FOLDER / name).read_bytes()) for name in WEIGHTS) < 2_000_000
    for file in FOLDER.iterdir():
        assert file.name.rpartition(".")[2] in ("py", "md", "safetensors", "__pycache__"), file.name
    for name in WEIGHTS:
        raw = (FOLDER / name).read_bytes()
        (length,) = struct.unpack("<Q", raw[:8])
        header = json.loads(raw[8 : 8 + length])
        kinds = Counter(t["dtype"] for n, t in header.items() if n != "__metadata__")
        assert set(kinds) == {"F16", "I16"}
        assert json.loads(header["__metadata__"]["recipe"])["epochs"] == Recipe().epochs
        assert json.loads(header["__metadata__"]["seed"]) == 0


def test_saved_networks_come_back_with_their_pictures(tmp_path: Path) -> None:
    networks = [
        Trained({"w": torch.tensor([[0.5, -2.0]]), "b": torch.tensor([3.0])}, frozenset({"train-12", "test-3"})),
        Trained({"w": torch.tensor([[1.0, 1 / 3]]), "b": torch.tensor([0.0])}, frozenset()),
    ]
    save(tmp_path / "two.safetensors", networks, {"words": ["a", "the"], "seed": 5})
    [first, second], facts = load(tmp_path / "two.safetensors")
    assert facts == {"words": ["a", "the"], "seed": 5}
    assert first.pictures == {"train-12", "test-3"}
    assert second.pictures == set()
    assert first.state["w"].tolist() == [[0.5, -2.0]]
    assert second.state["w"].dtype == torch.float32
    assert second.state["w"][0, 1] == pytest.approx(1 / 3, rel=2**-11)


def test_missing_weights_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(CannotComplete, match=r"muroan\.models\.easy_vqa\.train"):
        easy_vqa_model(tmp_path)


# Who was trained on what


def test_the_target_was_trained_on_the_members_and_nothing_else(model: EasyVQAModel, member_split: Examples) -> None:
    assert model.pictures == set(member_split.names)


def test_every_picture_is_in_half_of_the_shadows_and_the_reference_in_none(model: EasyVQAModel) -> None:
    splits = easy_vqa()
    shadows = model.shadows()
    assert len(shadows) == 8
    for data, times in [(splits.members, 4), (splits.audited, 4), (splits.reference, 0)]:
        assert data is not None
        seen = np.stack([s.trained_on(data.ids) for s in shadows])
        assert seen.dtype == bool
        assert (seen.sum(axis=0) == times).all()
        if times:  # halves, and different ones
            assert (np.abs(seen.mean(axis=1) - 0.5) < 0.05).all()
            overlap = np.corrcoef(seen)[~np.eye(8, dtype=bool)]
            assert np.abs(overlap).max() < 0.3


def test_shadows_answer_what_they_were_not_trained_on(model: EasyVQAModel, batch: Batch) -> None:
    for shadow in model.shadows():
        unseen = ~shadow.trained_on(batch.ids)
        right = (shadow.model.predict(batch.inputs).argmax(dim=1) == batch.targets).numpy()
        assert right[unseen].mean() > 0.93
        assert Capability.SHADOWS not in shadow.model.capabilities


def test_halves_belong_to_the_pictures_not_to_their_order() -> None:
    names = [f"train-{i}" for i in range(500)]
    halves = balanced_halves(names, 8, 0)
    assert (halves.sum(dim=0) == 4).all()
    assert torch.equal(balanced_halves(names[::-1], 8, 0), halves.flip(1))
    assert torch.equal(balanced_halves(names[100:200], 8, 0), halves[:, 100:200])
    assert not torch.equal(balanced_halves(names, 8, 1), halves)
    patterns = Counter(map(tuple, halves.T.tolist()))
    assert len(patterns) > 60  # of 70; all equally likely


# Training


def test_pictures_are_averaged_over_squares() -> None:
    pictures = torch.rand(2, 3, 64, 64, requires_grad=True)
    before, weights = pictures.detach().clone(), torch.rand(2, 3, 32, 32)
    ours, theirs = halve(pictures), torch.nn.functional.avg_pool2d(pictures, 2)
    assert torch.allclose(ours, theirs, atol=1e-6)
    gradients = [torch.autograd.grad((h * weights).sum(), pictures)[0] for h in (ours, theirs)]
    assert torch.allclose(*gradients)
    assert torch.equal(pictures.detach(), before)


def test_questions_of_pictures_come_in_the_order_of_the_pictures() -> None:
    examples = Examples(
        names=["a", "b", "c"],
        pictures=torch.zeros(3, 3, 64, 64, dtype=torch.uint8),
        questions=["a0", "a1", "b0", "c0", "c1", "c2"],
        targets=torch.zeros(6, dtype=torch.long),
        picture=torch.tensor([0, 0, 1, 2, 2, 2]),
        kinds=[""] * 6,
    )
    questions, position = examples.of_pictures(torch.tensor([2, 0]))
    assert [examples.questions[q] for q in questions] == ["c0", "c1", "c2", "a0", "a1"]
    assert position.tolist() == [0, 0, 0, 1, 1]


def test_gathered_examples_are_the_data_set() -> None:
    data = EasyVQA("test", range(20))
    examples = gather([data])
    batch = data.first(len(data))
    assert torch.equal(examples.values()[examples.picture], batch.inputs["image"])
    assert examples.questions == batch.inputs["question"]
    assert torch.equal(examples.targets, batch.targets)
    assert [examples.names[p] for p in examples.picture] == list(batch.clusters or ())
    assert gather([data], pictures=3).names == ["test-0", "test-1", "test-2"]


def _small(examples: Examples, *, pictures: int, seed: int, epochs: int) -> Network:
    index = word_index(build_vocabulary(examples.questions))
    return train(examples, torch.arange(pictures), index, Recipe(epochs=epochs), classes=13, seed=seed)


def test_the_same_seed_trains_the_same_network(test_split: Examples) -> None:
    torch.manual_seed(1)
    first = _small(test_split, pictures=40, seed=3, epochs=1).state_dict()
    torch.manual_seed(2)
    again = _small(test_split, pictures=40, seed=3, epochs=1).state_dict()
    other = _small(test_split, pictures=40, seed=4, epochs=1).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_training_learns_what_it_is_shown(test_split: Examples) -> None:
    network = _small(test_split, pictures=32, seed=0, epochs=100)
    vocabulary = build_vocabulary(test_split.questions)
    model = EasyVQAModel(
        Trained(network.state_dict(), frozenset()), vocabulary=vocabulary, classes=EasyVQA("test").schema.classes
    )
    shown = test_split.picture.numpy() < 32
    logits = scores(model, test_split)
    assert accuracy(logits, test_split, shown).value > 0.9
    assert accuracy(logits, test_split, ~shown).value < 0.8


def test_the_training_script_writes_what_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--out", str(tmp_path), "--seed", "7", "--epochs", "1", "--pictures", "100"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["CARD.md", "shadows.safetensors", "target.safetensors"]
    model = easy_vqa_model(tmp_path)
    assert len(model.pictures) == 100
    logits = model.predict({"image": torch.rand(2, 3, 64, 64), "question": ["is there a circle?", ""]})
    assert torch.isfinite(logits).all()
    shadows = model.shadows()
    times = Counter(p for s in shadows for p in s.model.pictures)  # type: ignore[attr-defined]
    assert len(shadows) == 8
    assert len(times) == 200
    assert set(times.values()) == {4}
    card = (tmp_path / "CARD.md").read_text(encoding="utf-8")
    assert "Trained on 100 pictures" in card
    assert "Seed 7;\nepochs 1," in card
    assert "$" not in card
    assert "accuracy on the test split" in capsys.readouterr().out


def test_leaving_pictures_out_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--out", str(tmp_path / "new"), "--epochs", "1", "--pictures", "60", "--leave-out", "20"])
    assert not (tmp_path / "new").exists()
    assert "in 20 clusters" in capsys.readouterr().out


def test_left_out_pictures_are_not_trained_on(test_split: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    seen: list[torch.Tensor] = []
    fit = Trainer.fit

    def watch(self: Trainer, examples: Examples, runs: dict[str, torch.Tensor]) -> list[Trained]:
        seen.extend(runs.values())
        return fit(self, examples, {name: chosen[:8] for name, chosen in runs.items()})

    monkeypatch.setattr(Trainer, "fit", watch)
    trainer = Trainer(
        Recipe(epochs=1), 0, build_vocabulary(test_split.questions), EasyVQA("test").schema.classes, Console()
    )
    estimate = trainer.on_left_out(test_split, 200)
    [chosen] = seen
    left = set(range(1000)) - set(chosen.tolist())
    assert len(left) == 200
    assert estimate.clusters == 200
    assert estimate.n == int(torch.isin(test_split.picture, torch.tensor(sorted(left))).sum())


def test_an_odd_number_of_shadows_cannot_be_balanced(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--shadows", "3"])
    assert "must be even" in capsys.readouterr().err
