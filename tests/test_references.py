"""From a short reference to a model or data; whatever is wrong with it is told in a sentence."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
import torch

import muroan.references as references
from muroan.dataset import Dataset
from muroan.errors import AskedWrongly
from muroan.model import BlackBox, Model
from muroan.references import open_data, open_model

MODULE = """
import numpy as np
import torch
from muroan.batch import Schema
from muroan.dataset import Dataset, Sample, Splits
from muroan.modality import Text
from muroan.model import BlackBox, Model

def make_model():
    return BlackBox(lambda inputs: np.full((len(inputs["q"]), 2), 0.5), modalities=["q"], classes=["no", "yes"])

class Own(Model):
    modalities = ("q",)
    classes = ("no", "yes")
    def predict(self, inputs, present=None):
        return torch.zeros(len(inputs["q"]), 2)

ready = make_model()
number = 3

def broken():
    raise ValueError("no such weights")

def asks():
    from muroan.errors import AskedWrongly
    raise AskedWrongly("set the key first")

def leaves():
    raise SystemExit(3)

def plain():
    return torch.nn.Linear(2, 2)

def forgets():
    pass

class Incomplete(Model):
    classes = ("no", "yes")

def with_argument(size):
    return make_model()

class Words(Dataset):
    name = "words"
    schema = Schema({"q": Text()}, ("no", "yes"))
    def __init__(self, ids=("a", "b")):
        self.ids = list(ids)
    def sample(self, i):
        return Sample(inputs={"q": "some words"}, target=0)

def make_splits():
    return Splits(Words(), Words(["c"]))

def overlapping():
    return Splits(Words(), Words(["b"]))
"""

A_MODEL = f"A model is {', '.join(sorted(references.MODELS))}, torch:package.module:factory or hf:owner/name."
DATA_ARE = f"Data are {', '.join(sorted(references.DATASETS))}, a table (.csv, .parquet, .jsonl), python:package."

_numbers = itertools.count()
Place = Callable[..., str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Writes a module into the current directory under a name that no other test uses; returns the name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text: str = MODULE, *, package: str | None = None) -> str:
        name = f"somebodys_{next(_numbers)}"
        folder = tmp_path / package if package else tmp_path
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(text)
        return f"{package}.{name}" if package else name

    return write


def complaint(work: Callable[[], object]) -> str:
    with pytest.raises(AskedWrongly) as caught:
        work()
    return str(caught.value)


# Models


@pytest.mark.parametrize("scheme", ["torch", "python"])
@pytest.mark.parametrize("what", ["make_model", "Own", "ready"])
def test_a_model_of_ones_own(place: Place, scheme: str, what: str) -> None:
    model = open_model(f"{scheme}:{place()}:{what}")
    assert isinstance(model, Model)
    assert model.classes == ("no", "yes")
    assert model.predict({"q": ["a", "b", "c"]}).shape == (3, 2)


def test_a_model_in_a_package_that_imports_its_neighbour_late(place: Place) -> None:
    package = f"package_{next(_numbers)}"
    neighbour = place("weights = 2.0\n", package=package)
    text = (
        MODULE + f"\ndef late():\n    import {neighbour} as n\n    assert n.weights == 2.0\n    return make_model()\n"
    )
    assert isinstance(open_model(f"torch:{place(text, package=package)}:late"), BlackBox)


def test_the_shipped_model() -> None:
    model = open_model("easy-vqa")
    data = open_data("easy-vqa").audited
    assert set(model.modalities) == set(data.schema.modalities)
    assert tuple(model.classes) == data.schema.classes
    batch = data.load(range(64)).batch
    assert batch is not None
    with torch.no_grad():
        assert model.predict(batch.inputs).shape == (64, 13)


WRONG_MODELS = [
    ("make_modell", "has no 'make_modell'. Did you mean 'make_model'?"),
    ("number", "number is an object of int; name a function without arguments"),
    ("broken", "broken() failed: ValueError: no such weights"),
    ("leaves", "leaves() failed: SystemExit: 3"),
    ("with_argument", "with_argument() failed: TypeError"),
    ("plain", "returned an object of Linear, expected a muroan.Model. Wrap it in muroan.TorchModel("),
    ("plain", "muroan.BlackBox(predict, modalities=..., classes=...)"),
    ("forgets", "returned nothing, expected a muroan.Model"),
    ("Words", "returned an object of Words, expected a muroan.Model"),
    ("Incomplete", "returned a model without modalities"),
    ("make-model", "is not of the form scheme:package.module:factory"),
    ("", "is not of the form scheme:package.module:factory"),
]


@pytest.mark.parametrize(("what", "message"), WRONG_MODELS)
def test_a_factory_that_makes_no_model(place: Place, what: str, message: str) -> None:
    ref = f"torch:{place()}:{what}"
    said = complaint(lambda: open_model(ref))
    assert message in said
    assert ref in said


def test_the_cause_is_kept_and_a_factorys_own_complaint_is_its_own(place: Place) -> None:
    name = place()
    with pytest.raises(AskedWrongly) as caught:
        open_model(f"torch:{name}:broken")
    assert isinstance(caught.value.__cause__, ValueError)
    assert complaint(lambda: open_model(f"torch:{name}:asks")) == "set the key first"


def test_a_module_that_cannot_be_imported(place: Place, tmp_path: Path) -> None:
    assert f"there is no module no_such_module, neither installed nor in {tmp_path}" in complaint(
        lambda: open_model("torch:no_such_module:make")
    )
    assert "there is no module json.nothing" in complaint(lambda: open_model("torch:json.nothing:make"))
    for text, reason in (
        ("def make(:\n", "SyntaxError"),
        ("import not_installed_anywhere\n", "ModuleNotFoundError: No module named 'not_installed_anywhere'"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("raise SystemExit('bye')\n", "SystemExit: bye"),
    ):
        name = place(text)
        said = complaint(lambda name=name: open_model(f"torch:{name}:make"))
        assert f"module {name} could not be imported: {reason}" in said


def test_a_file_here_does_not_stand_in_for_an_installed_package(place: Place, tmp_path: Path) -> None:
    place()
    (tmp_path / "json.py").write_text("def make():\n    raise AssertionError('this is not the json of Python')\n")
    said = complaint(lambda: open_model("torch:json:make"))
    assert f"json is both {tmp_path / 'json.py'} and" in said
    assert "rename yours" in said


@pytest.mark.parametrize("ref", ["onnx:m.onnx", "sklearn:m.skops", "chat:openai/x"])
def test_kinds_of_models_that_are_to_come(ref: str) -> None:
    said = complaint(lambda: open_model(ref))
    assert f"references of the kind {ref.split(':')[0]}: do not work yet" in said
    assert A_MODEL in said


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("easy_vqa", "unknown model 'easy_vqa'. Did you mean 'easy-vqa'?"),
        ("pytorch:a.b:c", "unknown model 'pytorch:a.b:c'. Did you mean 'torch:'?"),
        ("model.pt", f"unknown model 'model.pt'. {A_MODEL}"),
        ("", "unknown model ''."),
    ],
)
def test_unknown_models(ref: str, message: str) -> None:
    assert complaint(lambda: open_model(ref)).startswith(message)


# Data


def test_data_of_ones_own(place: Place) -> None:
    name = place()
    alone = open_data(f"python:{name}:Words")
    assert isinstance(alone.audited, Dataset)
    assert (alone.audited.name, alone.reference, alone.members) == ("words", None, None)
    assert [n for n, _ in open_data(f"python:{name}:make_splits").items()] == ["audited", "reference"]
    assert "sample 'b' is both audited and reference" in complaint(lambda: open_data(f"python:{name}:overlapping"))
    assert "returned an object of Linear, expected a muroan.Dataset, or muroan.Splits" in complaint(
        lambda: open_data(f"python:{name}:plain")
    )


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_tables(tmp_path: Path, kind: str) -> None:
    import polars as pl

    frame = pl.DataFrame({"q": ["a", "b"], "y": ["u", "v"]})
    path = tmp_path / f"t.{kind}"
    {"csv": frame.write_csv, "parquet": frame.write_parquet, "jsonl": frame.write_ndjson}[kind](path)
    spec = {"inputs": {"q": {"kind": "text", "column": "q"}}, "target": "y"}
    assert open_data(str(path), columns=spec).audited.ids == ["t-0", "t-1"]
    assert "Write t.yaml beside it" in complaint(lambda: open_data(str(path)))
    (tmp_path / "t.yaml").write_text("inputs:\n  q: {kind: text, column: q}\ntarget: y\n")
    found = open_data(str(path)).audited.load([0, 1]).batch
    assert found is not None
    assert found.inputs["q"] == ["a", "b"]
    assert "is not there" in complaint(lambda: open_data(str(tmp_path / f"none.{kind}")))


@pytest.mark.parametrize("ref", ["hf:squad", "hf:data.parquet"])
def test_kinds_of_data_that_are_to_come(ref: str) -> None:
    said = complaint(lambda: open_data(ref))
    assert f"references of the kind hf: do not work yet ({ref!r})" in said
    assert DATA_ARE in said


def test_unknown_data(tmp_path: Path) -> None:
    (tmp_path / "t.xlsx").touch()
    assert "is a file with the ending '.xlsx', which is not read as data. Data are" in complaint(
        lambda: open_data(str(tmp_path / "t.xlsx"))
    )
    assert "is a folder, which is not read as data" in complaint(lambda: open_data(str(tmp_path)))
    assert complaint(lambda: open_data("easyvqa")).startswith("unknown data 'easyvqa'. Did you mean 'easy-vqa'?")
    assert "columns are given for easy-vqa, which is not a table" in complaint(
        lambda: open_data("easy-vqa", columns={"target": "y"})
    )


def test_no_address_is_opened() -> None:
    for ref in ("https://localhost:1/t.csv", "s3://bucket/t.parquet", "file:///etc/t.csv"):
        assert "is not there" in complaint(lambda ref=ref: open_data(ref))


# Names


def test_names_of_others_are_found_and_do_not_replace_ours(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    name = place()
    points = EntryPoints(
        EntryPoint(ref, f"{name}:{what}", group)
        for ref, what, group in (
            ("theirs", "make_model", "muroan.models"),
            ("easy-vqa", "broken", "muroan.models"),
            ("words", "Words", "muroan.datasets"),
        )
    )
    monkeypatch.setattr(references.importlib.metadata, "entry_points", lambda *, group: points.select(group=group))
    assert references.known("models") == references.MODELS | {"theirs": f"{name}:make_model"}
    assert isinstance(open_model("theirs"), BlackBox)
    assert open_data("words").audited.name == "words"
    assert ", theirs, " in complaint(lambda: open_model("onnx:x"))


def test_listing_names_imports_no_model() -> None:
    code = (
        "import sys, muroan.references as r; r.known('models'); r.known('datasets'); "
        "print([m for m in sys.modules if m.startswith('muroan.models') or m == 'muroan.data.easy_vqa' "
        "or m in ('sklearn', 'scipy.stats', 'soundfile', 'PIL.Image')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert out.stdout.strip() == "[]"
