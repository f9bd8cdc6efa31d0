"""Adapters of transformers' models: the same scores as its own pipeline, with gradients and without surprises."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import muroan
from muroan.data.memory import InMemory
from muroan.data.pairs import FOUND
from muroan.dataset import Splits
from muroan.errors import AskedWrongly
from muroan.model import Embedded
from muroan.models import hf
from muroan.models.two_encoder import Retrieval, ZeroShot
from muroan.references import open_model
from tests.models import hf_folders as tiny

C = muroan.Capability
TEXTS = ["a red square", "a photo of the xylophone.", "what colour is this square?", "green", "blue disc ."]
NAMES = ["clip", "legacy", "siglip", "clap", "fused", "vilt", "vilt of two"]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    at = tmp_path_factory.mktemp("hf")
    return {
        "clip": tiny.clip(at / "clip"),
        "legacy": tiny.clip(at / "legacy", legacy=True),
        "siglip": tiny.siglip(at / "siglip"),
        "clap": tiny.clap(at / "clap", fusion=False),
        "fused": tiny.clap(at / "fused", fusion=True),
        "vilt": tiny.vilt(at / "vilt"),
        "vilt of two": tiny.vilt(at / "two", images=2),
    }


def waves(n: int, length: int) -> torch.Tensor:
    rng = np.random.default_rng(1)
    t = np.arange(length) / 4000
    tones = np.sin(2 * np.pi * rng.uniform(100, 1500, (n, 1)) * t)
    return torch.tensor(0.4 * tones + 0.1 * rng.uniform(-1, 1, (n, length)), dtype=torch.float32)


def inputs_of(name: str, n: int = 5) -> dict[str, Any]:
    pixels, texts = tiny.tensor_of(tiny.pictures(n)), (TEXTS * n)[:n]
    if name in ("clap", "fused"):
        return {"audio": waves(n, 1500), "text": texts}
    if name == "vilt of two":
        return {"image 1": pixels, "image 2": pixels.flip(0), "text": texts}
    return {"image": pixels, "text": texts}


def model_of(folders: dict[str, Path], name: str) -> muroan.Model:
    """With both modalities: retrieval for two encoders."""
    if name.startswith("vilt"):
        return open_model(f"hf:{folders[name]}")
    towers = hf.two_encoder(str(folders[name]))
    others = {m: v[5:] for m, v in inputs_of(name, 12).items()}
    # No distractor is anybody's partner: where both are the same, so are both scores, whatever the input.
    return towers.retrieval({**others, "text": [f"this is {c} {k}" for c in tiny.COLOURS for k in ("one", "two")]})


def complaint(work: Callable[[], object]) -> str:
    with pytest.raises(AskedWrongly) as caught:
        work()
    return str(caught.value)


def data_of(classes: tuple[str, ...], n: int = 12, *, start: int = 0, name: str = "data", **more: Any) -> InMemory:
    pixels = tiny.tensor_of(tiny.pictures(40))[start : start + n]
    return InMemory(
        {"photo": pixels, "words": (TEXTS * 8)[start : start + n]},
        targets=[classes[-1] if classes == FOUND else classes[i % len(classes)] for i in range(n)],
        modalities={"photo": muroan.Image(size=(20, 26)), "words": muroan.Text()},
        classes=classes,
        ids=[f"{i}" for i in range(start, start + n)],
        name=name,
        **more,
    )


# The same scores as transformers' own


@pytest.mark.parametrize(("name", "tolerance"), [("clip", 0.1), ("legacy", 0.1), ("siglip", 0.02)])
def test_pictures_score_as_in_the_pipeline_of_transformers(
    folders: dict[str, Path], name: str, tolerance: float
) -> None:
    """Prepared by Pillow in whole grey levels there, in real numbers here: equal up to that; exact on equal pixels."""
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    own = AutoModel.from_pretrained(folders[name]).eval()
    tokenizer = AutoTokenizer.from_pretrained(folders[name])
    prompts = [f"a photo of {c}." for c in tiny.COLOURS]
    padding = "max_length" if name == "siglip" else True
    words = tokenizer(prompts, padding=padding, return_tensors="pt")
    if name == "siglip":  # whose processor gives no mask
        words = {"input_ids": words["input_ids"]}
    some = tiny.pictures(5)
    pixels = AutoImageProcessor.from_pretrained(folders[name])(images=list(some), return_tensors="pt")["pixel_values"]
    model = hf.open(str(folders[name]), classes=tiny.COLOURS)
    assert isinstance(model, ZeroShot)
    with torch.no_grad():
        theirs = own(**words, pixel_values=pixels).logits_per_image - (own.logit_bias if name == "siglip" else 0)
        ours = model.predict({"image": tiny.tensor_of(some)})
        tower: Any = model.towers.parts()["image"]
        image = tower.projection(tower.network(pixel_values=pixels).pooler_output)
        exact = model.decide(functional.normalize(image, dim=1))
    torch.testing.assert_close(exact, theirs, atol=1e-5, rtol=1e-5)
    assert (ours - theirs).abs().max() < tolerance
    assert theirs.std(dim=0).min() > tolerance / 2  # or any constant would pass


@pytest.mark.parametrize("size", [(20, 26), (50, 37), (24, 24), (96, 128)])
@pytest.mark.parametrize("name", ["clip", "siglip", "vilt"])
def test_pictures_are_prepared_as_pillow_does(folders: dict[str, Path], name: str, size: tuple[int, int]) -> None:
    from transformers import AutoImageProcessor

    from muroan.models.hf.folder import Folder
    from muroan.models.hf.pictures import Pictures

    some = tiny.pictures(3, *size)
    made = AutoImageProcessor.from_pretrained(folders[name])
    theirs = made(images=list(some), return_tensors="pt")["pixel_values"]
    prepare = Pictures(Folder.of(str(folders[name])))
    ours = prepare(tiny.tensor_of(some))
    assert ours.shape == theirs.shape
    levels = (ours - theirs).abs() * prepare.std * 255
    # Pillow rounds to a level after each of two passes, and a bicubic kernel weighs neighbours up to 1.3 in all.
    assert levels.mean() < 0.5
    assert levels.max() < 2


def test_a_small_picture_is_cropped_with_black_around_it(folders: dict[str, Path], tmp_path: Path) -> None:
    from transformers import CLIPImageProcessor

    from muroan.models.hf.folder import Folder
    from muroan.models.hf.pictures import Pictures

    made = CLIPImageProcessor(do_resize=False, crop_size={"height": 27, "width": 31})
    made.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text((folders["clip"] / "config.json").read_text())
    some = tiny.pictures(2, 20, 40)
    theirs = made(images=list(some), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(Pictures(Folder.of(str(tmp_path)))(tiny.tensor_of(some)), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["clap", "fused"])
@pytest.mark.parametrize("length", [1500, 4000, 3999])
def test_sounds_score_as_in_the_pipeline_of_transformers(folders: dict[str, Path], name: str, length: int) -> None:
    from transformers import AutoFeatureExtractor, AutoModel, AutoTokenizer

    own = AutoModel.from_pretrained(folders[name]).eval()
    prompts = [f"this is a sound of {c}." for c in tiny.COLOURS]
    words = AutoTokenizer.from_pretrained(folders[name])(prompts, padding=True, return_tensors="pt")
    extractor = AutoFeatureExtractor.from_pretrained(folders[name])
    sounds = waves(4, length)
    features = extractor([w.numpy() for w in sounds], sampling_rate=4000, return_tensors="pt")["input_features"]
    model = hf.open(str(folders[name]), classes=tiny.COLOURS)
    with torch.no_grad():
        # Without the mark of a longer sound that the extractor puts on one of every batch at random.
        theirs = own(**words, input_features=features, is_longer=torch.zeros(4, 1)).logits_per_audio
        ours = model.predict({"audio": sounds})
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-3)
    assert theirs.std(dim=0).min() > 0.005


def test_sounds_of_another_rate_and_longer_than_the_window(folders: dict[str, Path]) -> None:
    from scipy.signal import resample

    from muroan.models.hf.sounds import resampled

    for old, new in ((1500, 1000), (1500, 1001), (1501, 2000), (1000, 1500)):
        some = waves(2, old)
        np.testing.assert_allclose(resampled(some, new).numpy(), resample(some.numpy(), new, axis=1), atol=1e-5)
    rated = hf.two_encoder(
        str(folders["clap"]), {"sound": muroan.Audio(rate=8000, length=3000), "caption": muroan.Text()}
    )
    assert rated.modalities == ("sound", "caption")
    fast = torch.from_numpy(resample(waves(2, 1500).numpy(), 3000, axis=1))
    plain = hf.two_encoder(str(folders["clap"]))
    with torch.no_grad():
        torch.testing.assert_close(
            rated.encode("sound", fast), plain.encode("audio", waves(2, 1500)), atol=1e-3, rtol=1e-3
        )
        long = waves(2, 5000)
        assert torch.equal(plain.encode("audio", long), plain.encode("audio", long[:, :4000]))


def test_vilt_answers_as_in_the_pipeline_of_transformers(folders: dict[str, Path]) -> None:
    from transformers import (
        AutoImageProcessor,
        AutoTokenizer,
        ViltForImagesAndTextClassification,
        ViltForQuestionAnswering,
    )

    some = tiny.pictures(5)
    for name, kind in (("vilt", ViltForQuestionAnswering), ("vilt of two", ViltForImagesAndTextClassification)):
        own = kind.from_pretrained(folders[name]).eval()
        words = AutoTokenizer.from_pretrained(folders[name])(
            TEXTS, padding=True, truncation=True, max_length=12, return_tensors="pt"
        )
        made = AutoImageProcessor.from_pretrained(folders[name])
        pixels = [made(images=list(x), return_tensors="pt")["pixel_values"] for x in (some, some[::-1])]
        put = pixels[0] if name == "vilt" else torch.stack(pixels, dim=1)
        # The size of the mask is that of the picture, without which ViLT takes it to be square.
        shape = (*put.shape[:-3], *put.shape[-2:])
        with torch.no_grad():
            theirs = own(**words, pixel_values=put, pixel_mask=torch.ones(shape, dtype=torch.long)).logits
            model = open_model(f"hf:{folders[name]}")
            ours = model.predict(inputs_of(name))
        assert model.classes == tuple(own.config.id2label.values())
        assert (ours - theirs).abs().max() < 0.05
        assert theirs.std(dim=0).min() > 0.05


def test_vilt_chooses_among_the_answers_of_the_data(folders: dict[str, Path]) -> None:
    data = Splits(data_of(("blue", "red")))
    whole, some = open_model(f"hf:{folders['vilt']}"), open_model(f"hf:{folders['vilt']}", data)
    assert some.modalities == ("photo", "words")
    given = inputs_of("vilt")
    scores = some.predict({"photo": given["image"], "words": given["text"]})
    assert torch.equal(scores, whole.predict(given)[:, [3, 1]])
    said = complaint(lambda: open_model(f"hf:{folders['vilt']}", Splits(data_of(("blue", "purple")))))
    assert "cannot answer 'purple'; its 5 classes begin with ['yes', 'red'" in said
    said = complaint(lambda: open_model(f"hf:{folders['vilt of two']}", data))
    assert "takes 2 pictures and a text, not 1 pictures" in said


# What every model promises


@pytest.mark.parametrize("name", NAMES)
def test_rows_do_not_see_each_other(folders: dict[str, Path], name: str) -> None:
    model, given = model_of(folders, name), inputs_of(name)
    with torch.no_grad():
        together = model.predict(given)
        alone = torch.cat([model.predict({m: v[i : i + 1] for m, v in given.items()}) for i in range(5)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    assert together.std(dim=0).max() > 1e-2


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_inputs_and_words(folders: dict[str, Path], name: str) -> None:
    model, given = model_of(folders, name), inputs_of(name)
    assert {C.SCORES, C.GRADIENTS, C.EMBEDDINGS, C.TRAIN} <= model.capabilities
    embedded = model.embed("text", given["text"])
    vectors = embedded.vectors.detach().requires_grad_()
    others = {m: v.clone().requires_grad_() for m, v in given.items() if m != "text"}
    codes = {m: model.encode(m, v) for m, v in others.items()}
    codes["text"] = model.encode_embedded("text", Embedded(vectors, embedded.mask, embedded.words))
    torch.testing.assert_close(codes["text"], model.encode("text", given["text"]), atol=1e-6, rtol=1e-6)
    logits = model.decide(model.fuse(codes))
    with torch.no_grad():
        torch.testing.assert_close(logits.detach(), model.predict(given), atol=1e-5, rtol=1e-5)
    targets = logits.argmin(dim=1)
    loss = functional.cross_entropy(logits, targets)
    grads = torch.autograd.grad(loss, [vectors, *others.values()])
    for g in grads:
        assert bool((g.flatten(1).abs().amax(dim=1) > 0).all())
    # A small step against the gradient does what the gradient says.
    *_, g = grads
    m, x = list(others.items())[-1]
    step = 1e-4 * g / g.norm()
    with torch.no_grad():
        codes[m] = model.encode(m, x - step)
        after = functional.cross_entropy(model.decide(model.fuse(codes)), targets)
    assert float(after - loss.detach()) == pytest.approx(-1e-4 * float(g.norm()), rel=0.2, abs=2e-7)


@pytest.mark.parametrize("name", ["clip", "siglip", "fused", "vilt of two"])
def test_chunks_and_copies_change_nothing(folders: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from muroan.models.hf import towers

    model, given = model_of(folders, name), inputs_of(name)
    with torch.no_grad():
        whole = model.predict(given)
        monkeypatch.setattr(towers, "ROWS", 2)
        torch.testing.assert_close(model.predict(given), whole, atol=1e-5, rtol=1e-5)
        copied = copy.deepcopy(model)
        for p in model.trainable().parameters():
            p.zero_()
        torch.testing.assert_close(copied.predict(given), whole, atol=1e-5, rtol=1e-5)


def test_gradients_of_each_sample_at_once(folders: dict[str, Path]) -> None:
    """What privacy's methods ask of a network: gradients of weights, one a sample."""
    from torch.func import functional_call, grad, vmap

    tower = hf.two_encoder(str(folders["clip"])).parts()["image"]
    weights = {k: v.detach() for k, v in tower.named_parameters()}
    some = inputs_of("clip")["image"]

    def loss(w: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = functional_call(tower, w, (x[None],)).square().sum()
        return found

    together = vmap(grad(loss), in_dims=(None, 0))(weights, some)
    alone = grad(loss)(weights, some[3])
    for k, g in alone.items():
        torch.testing.assert_close(together[k][3], g, atol=1e-3, rtol=1e-3)


def test_tokens_know_their_word(folders: dict[str, Path]) -> None:
    model = model_of(folders, "vilt")
    found = model.embed("text", ["what  colour?", "", "a xyz red"])
    assert found.words[:, :7].tolist() == [
        [-1, 0, 1, 1, -1, -1, -1],
        [-1, -1, -1, -1, -1, -1, -1],
        [-1, 0, 1, 1, 1, 2, -1],
    ]
    assert found.mask.sum(dim=1).tolist() == [5, 2, 7]
    assert found.mask.shape[1] == 12  # what the network has positions for
    long = model.predict({"image": inputs_of("vilt", 1)["image"], "text": ["red " * 50]})
    cut = model.predict({"image": inputs_of("vilt", 1)["image"], "text": ["red " * 10 + "blue"]})
    assert torch.equal(long, cut)


def test_training_changes_the_model_and_its_fingerprint(folders: dict[str, Path]) -> None:
    for name in ("clip", "vilt"):
        model, again, given = model_of(folders, name), model_of(folders, name), inputs_of(name)
        assert model.fingerprint() == again.fingerprint()
        before = model.predict(given).detach()
        modules = model.trainable()
        functional.cross_entropy(model.predict(given), torch.ones(5, dtype=torch.long)).backward()
        with torch.no_grad():
            moved = [p for p in modules.parameters() if p.grad is not None]
            assert len(moved) > 20
            for p in moved:
                p -= 0.05 * p.grad
        after = model.predict(given).detach()
        assert (after - before).abs().max() > 1e-3
        assert model.fingerprint() != again.fingerprint()
        again.trainable().load_state_dict(modules.state_dict())
        torch.testing.assert_close(again.predict(given).detach(), after)


def test_the_fingerprint_knows_tokens_and_preparation(folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    plain = hf.two_encoder(str(folders["clip"])).fingerprint()
    for file, old, new in (
        ("preprocessor_config.json", '"resample": 3', '"resample": 2'),
        ("tokenizer.json", '"green"', '"grean"'),
    ):
        copy = tmp_path / file.split(".")[0]
        shutil.copytree(folders["clip"], copy)
        text = (copy / file).read_text()
        assert old in text
        (copy / file).write_text(text.replace(old, new))
        assert hf.two_encoder(str(copy)).fingerprint() != plain


# The data choose the task


def test_pairs_make_it_retrieval_with_distractors_from_the_reference(folders: dict[str, Path]) -> None:
    audited, ref = data_of(FOUND), f"hf:{folders['clip']}"
    reference = data_of(FOUND, 24, start=12, clusters=[str(i // 2) for i in range(24)])
    model = open_model(ref, Splits(audited, reference))
    assert isinstance(model, Retrieval)
    assert (model.modalities, model.classes) == (("photo", "words"), FOUND)
    assert {m: len(v) for m, v in model.gallery.items()} == {"photo": 12, "words": 12}  # one a cluster
    turned = reference.subset(list(range(24))[::-1])
    assert open_model(ref, Splits(audited, turned)).fingerprint() == model.fingerprint()
    assert len(hf.opening.gallery(reference, ("photo",), most=7)["photo"]) == 7
    said = complaint(lambda: open_model(ref, Splits(audited)))
    assert "name a reference, pairs that are not audited (--reference)" in said
    assert "need no prompt" in complaint(lambda: open_model(f"{ref}?prompt=a {{}}", Splits(audited, reference)))


def test_other_classes_make_it_zero_shot(folders: dict[str, Path]) -> None:
    ref, data = f"hf:{folders['clip']}", Splits(data_of(tiny.COLOURS))
    model = open_model(ref, data)
    assert isinstance(model, ZeroShot)
    assert (model.modalities, model.classes, model.prompts) == (("photo",), tiny.COLOURS, ("a photo of {}.",))
    other = open_model(f"{ref}?prompt=this is {{}}", data)
    assert isinstance(other, ZeroShot)
    assert other.prompts == ("this is {}",)
    assert other.fingerprint() != model.fingerprint()
    given = {"photo": inputs_of("clip")["image"]}
    assert not torch.allclose(other.predict(given), model.predict(given), atol=1e-3)
    assert "after ? comes prompt=" in complaint(lambda: open_model(f"{ref}?size=3", data))
    assert "prompts need a place {}" in complaint(lambda: open_model(f"{ref}?prompt=this", data))
    assert "has no classes of its own: open it with data" in complaint(lambda: open_model(ref))
    said = complaint(lambda: open_model(f"hf:{folders['clap']}", data))
    assert "takes one input of the kind audio; the data have 0: photo (image), words (text)" in said


@pytest.mark.parametrize("name", ["clip", "pairs", "vilt"])
def test_an_audit_from_end_to_end(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    folder = folders["vilt" if name == "vilt" else "clip"]
    classes = FOUND if name == "pairs" else tiny.COLOURS
    data, probes = data_of(classes), {"robustness.gradient": {"steps": 3, "restarts": 1}}
    # Labels are what the model says, so that there is something to attack.
    model = open_model(f"hf:{folder}", Splits(data, data_of(classes, 9, start=20)))
    batch = data.first(12)
    said = model.predict({m: batch.inputs[m] for m in model.modalities}).argmax(dim=1).tolist()
    labelled = InMemory(
        dict(batch.inputs), targets=said, modalities=data.schema.modalities, classes=classes, ids=data.ids
    )
    splits = Splits(labelled, data_of(classes, 9, start=20))
    run = muroan.audit(f"hf:{folder}", splits, probes=probes, out=tmp_path / "run")
    figures = {f.metric: f.estimate for f in run.findings if f.estimate is not None}
    assert "success" in figures
    rows = run.evidence("robustness.gradient")
    assert rows["sample"].n_unique() == 12
    assert rows.filter(rows["attacked"])["loss_first"].drop_nulls().len() > 0


# What is refused


def test_a_pickle_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folders["clip"], tmp_path / "clip")
    (tmp_path / "clip" / "model.safetensors").unlink()
    assert "holds no weights (model.safetensors)" in complaint(
        lambda: hf.open(str(tmp_path / "clip"), classes=["a", "b"])
    )
    # A file that would show that it had been opened.
    (tmp_path / "clip" / "pytorch_model.bin").write_bytes(
        b"cbuiltins\nopen\n(V" + str(tmp_path / "opened").encode() + b"\nVw\ntR."
    )
    said = complaint(lambda: hf.open(str(tmp_path / "clip"), classes=["a", "b"]))
    assert "as a pickle only (pytorch_model.bin), which runs code when it is opened" in said
    assert "save_pretrained" in said
    assert not (tmp_path / "opened").exists()


def test_code_of_a_folder_is_not_run(folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folders["clip"], tmp_path / "clip")
    config = json.loads((tmp_path / "clip" / "config.json").read_text())
    (tmp_path / "clip" / "own.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n")
    own = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    (tmp_path / "clip" / "config.json").write_text(json.dumps({**config, "auto_map": own}))
    hf.open(str(tmp_path / "clip"), classes=["a", "b"])  # of a known type: read by the known code
    (tmp_path / "clip" / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": own}))
    said = complaint(lambda: hf.open(str(tmp_path / "clip"), classes=["a", "b"]))
    assert "AutoConfig could not be read" in said
    assert not (tmp_path / "run").exists()


def test_missing_weights_are_not_drawn_at_random(folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(folders["vilt"], tmp_path / "vilt")
    at = str(tmp_path / "vilt" / "model.safetensors")
    kept = {k: v for k, v in load_file(at).items() if not k.startswith("classifier")}
    save_file(kept, at, metadata={"format": "pt"})
    said = complaint(lambda: open_model(f"hf:{tmp_path / 'vilt'}"))
    assert "has no weights for classifier" in said
    assert "random numbers" in said


def test_types_that_do_not_work(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    said = complaint(lambda: open_model(f"hf:{tmp_path}"))
    assert "is of the type 'bert', which does not work yet. These do: clap, clip, siglip, vilt." in said
    assert "two encoders are clap, clip, siglip" in complaint(lambda: hf.two_encoder(str(tmp_path)))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vilt", "architectures": ["ViltForMaskedLM"]}))
    assert "is a ViltForMaskedLM, which does not end in classes" in complaint(lambda: open_model(f"hf:{tmp_path}"))
    (tmp_path / "config.json").write_text("{")
    assert "AutoConfig could not be read" in complaint(lambda: open_model(f"hf:{tmp_path}"))


def test_folders_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "there is no such folder" in complaint(lambda: open_model("hf:./my-clip"))
    assert "there is no such folder" in complaint(lambda: open_model("hf:clip"))
    assert "is a file; name the folder" in complaint(lambda: open_model(f"hf:{__file__}"))


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    (tmp_path / "config.json").write_text("{}")
    assert "pip install 'muroan[hf]'" in complaint(lambda: open_model(f"hf:{tmp_path}"))


def test_transformers_is_imported_when_a_model_is_opened() -> None:
    code = "import sys, muroan.models.hf; print('transformers' in sys.modules, 'torchvision' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert out.stdout.split() == ["False", "False"]
