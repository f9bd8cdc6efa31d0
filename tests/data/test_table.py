"""A user's own table: every kind of input comes out as it was written, a bad row costs a row, a bad table says why."""

from __future__ import annotations

import io
import pickle
import wave
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pictures

from muroan.batch import Batch
from muroan.data import tablefile
from muroan.data.spec import TableSpec, parse_spec
from muroan.data.table import Table, open_table
from muroan.dataset import split_off
from muroan.errors import AskedWrongly
from muroan.modality import Audio, Image, Series, Tabular, Text

N = 6
LABELS = ["yes", "no", "no", "yes", "no", "yes"]
SPEC: dict[str, Any] = {
    "inputs": {
        "image": {"kind": "image", "column": "file", "size": [5, 4]},
        "question": {"kind": "text", "column": "question"},
        "vitals": {"kind": "tabular", "columns": ["age", "pulse"]},
        "ecg": {"kind": "series", "column": "ecg_file", "length": 3, "channels": ["a", "b"]},
        "sound": {"kind": "audio", "column": "wav", "rate": 8000, "length": 8},
        "notes": {"kind": "text", "column": "notes", "file": True},
    },
    "target": "label",
    "groups": ["sex", "site"],
    "id": "row_id",
    "cluster": "patient",
}
YAML = """
inputs:
  image: {kind: image, column: file, size: [5, 4]}
  question: {kind: text, column: question}
  vitals: {kind: tabular, columns: [age, pulse]}
  ecg: {kind: series, column: ecg_file, length: 3, channels: [a, b]}
  sound: {kind: audio, column: wav, rate: 8000, length: 8}
  notes: {kind: text, column: notes, file: true}
target: label
classes: [no, yes]
groups: [sex, site]
id: row_id
cluster: patient
"""


def pixels(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (5, 4, 3), dtype=np.uint8)


def steps(i: int) -> np.ndarray:
    return np.arange(6.0).reshape(3, 2) + i


def tone(i: int) -> np.ndarray:
    return np.array([i, -i, 2 * i, 0, 1, 2, 3, 4]) / 16


def columns() -> dict[str, list[Any]]:
    return {
        "row_id": [f"r{i}" for i in range(N)],
        "file": [f"pictures/{i}.png" for i in range(N)],
        "question": [f"is it {i}?" for i in range(N)],
        "age": [30.5 + i for i in range(N)],
        "pulse": [60 + i for i in range(N)],
        "ecg_file": [f"ecg/{i}.csv" for i in range(N)],
        "wav": [f"{i}.wav" for i in range(N)],
        "notes": [f"{i}.txt" for i in range(N)],
        "label": list(LABELS),
        "sex": ["f", "m", None, "f", "m", "f"],
        "site": ["north", "south", "north", "south", "north", "south"],
        "patient": ["p0", "p0", "p1", "p1", "p2", "p2"],
        "part": ["test", "test", "valid", "valid", "train", "other"],
        "unused": ["", "x,y", '"', "ä", "\x1b[31m", "=1+1"],
    }


def files(home: Path) -> None:
    (home / "pictures").mkdir()
    (home / "ecg").mkdir()
    for i in range(N):
        Pictures.fromarray(pixels(i)).save(home / "pictures" / f"{i}.png")
        pl.DataFrame({"b": steps(i)[:, 1], "a": steps(i)[:, 0]}).write_csv(home / "ecg" / f"{i}.csv")
        with wave.open(str(home / f"{i}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes((tone(i) * 32768).astype("<i2").tobytes())
        (home / f"{i}.txt").write_text(f"note {i}")


def write(path: Path, of: dict[str, list[Any]]) -> Path:
    frame = pl.DataFrame(of, strict=False)
    {".csv": frame.write_csv, ".parquet": frame.write_parquet, ".jsonl": frame.write_ndjson}[path.suffix](path)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    files(tmp_path)
    return tmp_path


def load(table: Any) -> Batch:
    found = table.load(range(len(table)))
    assert found.quarantined == ()
    assert found.batch is not None
    batch: Batch = found.batch
    return batch


KINDS = [".csv", ".parquet", ".jsonl"]


# What was written comes out


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_input_comes_out_as_it_was_written(home: Path, kind: str) -> None:
    table = Table(write(home / f"cases{kind}", columns()), SPEC)
    assert (table.name, len(table), table.ids) == ("cases", N, [f"r{i}" for i in range(N)])
    assert table.schema.classes == ("no", "yes")
    assert table.schema.groups == {"sex": ("f", "m"), "site": ("north", "south")}
    assert table.schema.cluster == "patient"
    assert table.schema.modalities == {
        "image": Image(size=(5, 4)),
        "question": Text(),
        "vitals": Tabular(columns=("age", "pulse"), fill=(33.0, 62.5)),
        "ecg": Series(length=3, channels=("a", "b"), fill=(0.0, 0.0)),
        "sound": Audio(rate=8000, length=8),
        "notes": Text(),
    }
    batch = load(table)
    assert batch.targets.tolist() == [1, 0, 0, 1, 0, 1]
    assert batch.groups == {"sex": ["f", "m", "", "f", "m", "f"], "site": columns()["site"]}
    assert batch.clusters == columns()["patient"]
    assert table.clusters() == columns()["patient"]
    assert batch.present == {}
    for i in range(N):
        assert torch.equal(batch.inputs["image"][i].permute(1, 2, 0) * 255, torch.from_numpy(pixels(i)).float())
        assert torch.equal(batch.inputs["ecg"][i], torch.from_numpy(steps(i)).float())
        assert torch.equal(batch.inputs["sound"][i], torch.from_numpy(tone(i)).float())
        assert batch.inputs["vitals"][i].tolist() == [30.5 + i, 60 + i]
    assert batch.inputs["question"] == columns()["question"]
    assert batch.inputs["notes"] == [f"note {i}" for i in range(N)]


def test_cells_are_never_interpreted(tmp_path: Path) -> None:
    odd = ["=1+1", "@SUM(A1)", "<script>", "007", "2024-01-01", "\x1b[31mred", "NaN", "no", "{{x}}", "'; DROP", "a\nb"]
    labels = ["no", "yes", "0", "00", "0.0", "TRUE", "true", "null", "NA", "1e3", "=1"]
    for kind in KINDS:
        path = write(tmp_path / f"t{kind}", {"q": odd, "y": labels, "id": odd})
        batch = load(Table(path, inputs={"q": {"kind": "text", "column": "q"}}, target="y", id="id"))
        assert batch.inputs["q"] == odd
        assert batch.ids == odd
        assert [sorted(labels)[t] for t in batch.targets.tolist()] == labels


def test_labels_of_whole_numbers_and_truth_values(tmp_path: Path) -> None:
    inputs = {"q": {"kind": "text", "column": "q"}}
    q = ["a", "b", "c"]
    for kind in KINDS:
        path = write(tmp_path / f"t{kind}", {"q": q, "n": [10, 9, 9], "b": [True, False, True]})
        assert Table(path, inputs=inputs, target="n").schema.classes == ("9", "10")
        assert Table(path, inputs=inputs, target="n", classes=[10, 9]).schema.classes == ("10", "9")
        assert Table(path, inputs=inputs, target="b", classes=[True, False]).schema.classes == ("true", "false")
    path = write(tmp_path / "t.parquet", {"q": q, "n": [1.0, None, 0.0]})  # a gap makes whole numbers decimal
    table = Table(path, inputs=inputs, target="n")
    assert table.schema.classes == ("0", "1")
    assert [b.reason for b in table.load(range(3)).quarantined] == ["column 'n' (target) has no value"]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_ids_are_numbered_under_the_tables_name(home: Path, kind: str) -> None:
    spec = {k: v for k, v in SPEC.items() if k not in ("id", "cluster")}
    table = Table(write(home / f"cases{kind}", columns()), spec)
    assert table.ids == [f"cases-{i}" for i in range(N)]
    assert load(table).clusters is None
    assert table.clusters() == table.ids


# Cells that hold the values themselves


def test_parquet_holds_pictures_sounds_and_series_itself(tmp_path: Path) -> None:
    held = io.BytesIO()
    Pictures.fromarray(pixels(0)).save(held, "PNG")
    frame = pl.DataFrame(
        {
            "bytes": [held.getvalue(), b"junk", None],
            "struct": [{"bytes": held.getvalue(), "path": "a.png"}, {"bytes": None, "path": "/etc/passwd"}, None],
            "flat": [[0.5, -0.5], [0.25, 0.0], [1.0, 1.0]],
            "steps": [steps(i).tolist() for i in range(3)],
            "label": ["a", "b", "a"],
        }
    )
    frame = frame.with_columns(fixed=pl.col("flat").list.to_array(2))
    frame.write_parquet(tmp_path / "t.parquet")
    inputs: dict[str, Any] = {
        "flat": {"kind": "series", "column": "flat", "length": 2, "channels": ["v"]},
        "fixed": {"kind": "audio", "column": "fixed", "rate": 8, "length": 2},
        "steps": {"kind": "series", "column": "steps", "length": 3, "channels": ["a", "b"]},
    }
    batch = load(Table(tmp_path / "t.parquet", inputs=inputs, target="label"))
    assert batch.inputs["flat"][..., 0].tolist() == [[0.5, -0.5], [0.25, 0.0], [1.0, 1.0]]
    assert batch.inputs["fixed"].tolist() == [[0.5, -0.5], [0.25, 0.0], [1.0, 1.0]]
    assert batch.inputs["steps"][2].tolist() == steps(2).tolist()
    for column in ("bytes", "struct"):
        image = {"kind": "image", "column": column, "size": [5, 4]}
        found = Table(tmp_path / "t.parquet", inputs={"image": image, **inputs}, target="label").load(range(3))
        assert found.batch is not None
        assert found.batch.ids == ["t-0", "t-2"]
        assert found.batch.present["image"].tolist() == [True, False]
        assert torch.equal(found.batch.inputs["image"][0].permute(1, 2, 0) * 255, torch.from_numpy(pixels(0)).float())
        (bad,) = found.quarantined
        reason = "content of 4 bytes is not a picture" if column == "bytes" else "cell holds dict without content"
        assert bad.reason.startswith(f"image: {reason}")


@pytest.mark.parametrize("kind", [".parquet", ".jsonl"])
@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ([[0.0, 1.0], [2.0]], "list has entries of unequal length"),
        ([[0.0, None], [2.0, 1.0]], "list has entries that are not numbers"),
        ([[0.0, float("nan")], [2.0, 1.0]], "series has 1 values that are NaN or infinite"),
        ([[0.0, 1.0]], "series has shape (1, 2), expected (2, 2)"),
        ([], "series has shape (0,), expected (2, 2)"),
    ],
)
def test_lists_that_are_no_series(tmp_path: Path, kind: str, cell: list[Any], reason: str) -> None:
    if kind == ".jsonl" and "nan" in str(cell):
        pytest.skip("JSON has no NaN")
    good = [[1.0, 2.0], [3.0, 4.0]]
    path = write(tmp_path / f"t{kind}", {"s": [good, cell, good], "y": ["a", "b", "a"]})
    inputs = {"s": {"kind": "series", "column": "s", "length": 2, "channels": ["a", "b"]}}
    found = Table(path, inputs=inputs, target="y").load(range(3))
    assert found.batch is not None
    assert found.batch.ids == ["t-0", "t-2"]
    assert reason in found.quarantined[0].reason


def test_categories_are_text(tmp_path: Path) -> None:
    frame = pl.DataFrame({"q": ["a", "b", "a"], "y": ["u", "v", "u"], "g": ["m", None, "f"]})
    frame.with_columns(pl.all().cast(pl.Categorical)).write_parquet(tmp_path / "t.parquet")
    table = Table(tmp_path / "t.parquet", inputs={"q": {"kind": "text", "column": "q"}}, target="y", groups=["g"])
    batch = load(table)
    assert batch.inputs["q"] == ["a", "b", "a"]
    assert (batch.targets.tolist(), batch.groups["g"]) == ([0, 1, 0], ["m", "", "f"])


# A bad row costs a row

OUTSIDE = "only files below the table's root are read"
BAD_CELLS = [
    ("file", "pictures/none.png", "image: 'pictures/none.png' is missing"),
    ("file", "../secret.png", f"image: '../secret.png' has '..' in it; {OUTSIDE}"),
    ("file", "/etc/passwd", f"image: '/etc/passwd' is an absolute path; {OUTSIDE}"),
    ("file", "http://localhost:1/x.png", f"image: 'http://localhost:1/x.png' is an address; {OUTSIDE}"),
    ("file", "leaves.png", "image: 'leaves.png' is a link that leads out of the table's root"),
    ("file", "cut.png", "image: 'cut.png' is not a readable picture"),
    ("file", "words.png", "image: 'words.png' is not a picture"),
    ("file", "large.png", "image: 'large.png' is 10×8 pixels (height × width), expected 5×4; `resize: true`"),
    ("file", "deep.png", "image: picture has mode I;16, expected RGB"),
    ("file", "print.jpg", "image: picture has mode CMYK, expected RGB"),
    ("file", "pictures", "image: 'pictures' is not a regular file"),
    ("file", "x" * 300, f"image: '{'x' * 59}… cannot be reached: File name too long"),
    ("question", " ", "question: text is empty"),
    ("age", "NaN", "vitals: column 'age' is 'NaN', expected a finite number"),
    ("age", "inf", "vitals: column 'age' is 'inf', expected a finite number"),
    ("age", "thirty", "vitals: column 'age' is 'thirty', not a number"),
    ("age", "1_000", "vitals: column 'age' is '1_000', not a number"),
    ("age", None, "vitals: column 'age' has no value"),
    ("ecg_file", "words.png", "ecg: 'words.png' is not a series file"),
    ("ecg_file", "short.csv", "ecg: 'short.csv' has 1 steps, expected 3 steps of 2 channels"),
    ("ecg_file", "nan.csv", "ecg: series has 1 values that are NaN or infinite"),
    ("wav", "short.wav", "sound: 'short.wav' has 4 samples, expected 8"),
    ("wav", "cut.wav", "sound: 'cut.wav' is cut off"),
    ("notes", "blank.txt", "notes: text is empty"),
    ("notes", "latin.txt", "notes: 'latin.txt' is not UTF-8 text"),
    ("label", "Yes", "label 'Yes' is not among the classes. Did you mean 'yes'?"),
    ("label", "", "label '' is not among the classes"),
    ("label", None, "column 'label' (target) has no value"),
    ("patient", None, "column 'patient' (cluster) has no value"),
]


def bad_files(home: Path) -> None:
    png = (home / "pictures" / "0.png").read_bytes()
    sound = (home / "0.wav").read_bytes()
    (home.parent / "secret.png").write_bytes(png)
    (home / "leaves.png").symlink_to(home.parent / "secret.png")
    (home / "cut.png").write_bytes(png[: len(png) - 30])
    (home / "words.png").write_text("these are words")
    Pictures.new("RGB", (8, 10)).save(home / "large.png")
    Pictures.fromarray(np.full((5, 4), 4000, dtype=np.uint16)).save(home / "deep.png")
    Pictures.new("CMYK", (4, 5)).save(home / "print.jpg")
    (home / "short.csv").write_text("a,b\n1,2\n")
    (home / "nan.csv").write_text("a,b\n1,2\n3,nan\n5,6\n")
    (home / "cut.wav").write_bytes(sound[:-6])
    with wave.open(str(home / "short.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8))
    (home / "blank.txt").write_text(" \n")
    (home / "latin.txt").write_bytes("ä".encode("latin-1"))


@pytest.mark.parametrize(("column", "cell", "reason"), BAD_CELLS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_row_is_quarantined_and_the_others_survive(
    home: Path, kind: str, column: str, cell: str | None, reason: str
) -> None:
    bad_files(home)
    rows = columns()
    rows["age"] = [str(a) for a in rows["age"]]
    rows[column][2] = cell
    table = Table(write(home / f"cases{kind}", rows), {**SPEC, "classes": ["no", "yes"]})
    found = table.load(range(N))
    assert found.batch is not None
    assert found.batch.ids == ["r0", "r1", "r3", "r4", "r5"]
    (bad,) = found.quarantined
    if (kind, cell, column) == (".csv", "", "label"):
        reason = "label '' is not among"  # written in quotes, so it is an empty text and not a missing one
    assert (bad.sample, bad.stage) == ("r2", "read")
    assert bad.reason.startswith(reason)
    assert bad.reason.isprintable()


def test_a_decompression_bomb_costs_a_row(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = columns()
    Pictures.new("RGB", (60, 60)).save(home / "big.png")
    rows["file"][0] = "big.png"
    spec = {**SPEC, "inputs": {"image": {**SPEC["inputs"]["image"], "resize": True}}}
    table = Table(write(home / "cases.csv", rows), spec)
    monkeypatch.setattr(Pictures, "MAX_IMAGE_PIXELS", 1000)
    found = table.load(range(N))
    assert [b.reason for b in found.quarantined] == ["image: 'big.png' would unpack to more than 1000 pixels"]
    assert found.batch is not None
    assert len(found.batch) == N - 1


@given(name=st.text(min_size=1))
def test_no_file_name_of_a_table_stops_it_or_leads_out(one: Path, name: str) -> None:
    table = write(one / "t.parquet", {"f": [name, "ok.txt"], "y": ["a", "b"]})
    found = Table(table, inputs={"f": {"kind": "text", "column": "f", "file": True}}, target="y").load([0, 1])
    assert found.batch is not None
    assert found.batch.ids[-1] == "t-1"
    assert set(found.batch.inputs["f"]) == {"fine"}
    assert len(found.batch) + len(found.quarantined) == 2


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    (folder / "ok.txt").write_text("fine")
    return folder


# Missing is not bad


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(SPEC["inputs"]))
def test_no_value_means_that_the_modality_is_missing(home: Path, kind: str, name: str) -> None:
    rows = columns()
    used = SPEC["inputs"][name]
    for column in used.get("columns", [used.get("column")]):
        rows[column][2] = None
    batch = load(Table(write(home / f"cases{kind}", rows), SPEC))
    assert {m: p.tolist() for m, p in batch.present.items()} == {name: [True, True, False, True, True, True]}
    modality = batch.modalities[name]
    neutral = modality.neutral(modality.collate([modality.blank()]))
    missing = batch.inputs[name][2]
    assert missing == neutral[0] if isinstance(missing, str) else torch.equal(missing, neutral[0])


def test_a_row_with_nothing_is_bad(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", {"q": ["a", None], "y": ["u", "v"]})
    found = Table(path, inputs={"q": {"kind": "text", "column": "q"}}, target="y").load([0, 1])
    assert [b.reason for b in found.quarantined] == ["no input is present"]


def test_the_fill_of_a_table_is_the_mean_of_what_is_there(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", {"a": ["1", "2", None, "6", "x", "nan", "inf"], "y": list("uvuvuvu")})
    inputs = {"v": {"kind": "tabular", "columns": ["a"]}}
    assert Table(path, inputs=inputs, target="y").schema.modalities["v"] == Tabular(columns=("a",), fill=(3.0,))
    given = {"v": {"kind": "tabular", "columns": ["a"], "fill": [9]}}
    assert Table(path, inputs=given, target="y").schema.modalities["v"] == Tabular(columns=("a",), fill=(9.0,))


def test_options_reach_the_modalities(home: Path) -> None:
    inputs = {
        "image": {"kind": "image", "column": "file", "size": [10, 8], "channels": 1, "fill": [0.25], "resize": True},
        "question": {"kind": "text", "column": "question", "lexicon": {"is": ["was", "be"]}},
        "ecg": {"kind": "series", "column": "ecg_file", "length": 3, "channels": ["b"], "fill": [4]},
        "sound": {"kind": "audio", "column": "wav", "rate": 8000, "length": 12, "frame": 4, "fit": True},
    }
    table = Table(write(home / "cases.csv", columns()), inputs=inputs, target="label")
    assert table.schema.modalities == {
        "image": Image(size=(10, 8), channels=1, fill=(0.25,)),
        "question": Text(lexicon=(("is", ("was", "be")),)),
        "ecg": Series(length=3, channels=("b",), fill=(4.0,)),
        "sound": Audio(rate=8000, length=12, frame=4),
    }
    batch = load(table)
    assert batch.inputs["image"].shape == (N, 1, 10, 8)
    assert batch.inputs["ecg"][1, :, 0].tolist() == steps(1)[:, 1].tolist()
    assert batch.inputs["sound"][1].tolist() == [*tone(1), 0, 0, 0, 0]


# Keys and memory


@pytest.mark.parametrize("kind", KINDS)
def test_equal_files_and_equal_texts_are_encoded_once(home: Path, kind: str) -> None:
    rows = columns()
    rows["file"] = ["pictures/0.png", "./pictures/0.png", "pictures/1.png"] * 2
    rows["question"] = ["a", "b", "a", "a", "b", "b"]
    batch = load(Table(write(home / f"cases{kind}", rows), SPEC))
    assert set(batch.keys) == {"image", "question", "ecg", "sound", "notes"}
    for name, distinct in {"image": 2, "question": 2, "ecg": N, "sound": N, "notes": N}.items():
        values, index = batch.unique(name)
        assert len(values) == distinct
        back = values[index] if isinstance(values, torch.Tensor) else [values[i] for i in index]
        same = back == batch.inputs[name]
        assert bool(same.all()) if isinstance(same, torch.Tensor) else same


def test_keys_are_the_same_in_every_process_and_order(home: Path) -> None:
    table = Table(write(home / "cases.csv", columns()), SPEC)
    one, two = table.load(range(N)).batch, table.load(range(N - 1, -1, -1)).batch
    assert one is not None
    assert two is not None
    for name in one.keys:
        assert torch.equal(one.keys[name], two.keys[name].flip(0))
    assert table.sample(0).keys["question"] == 5467097548527198730  # of any process: no salted hash is in it


@pytest.mark.parametrize("size", [1, 2, 4, 100])
def test_blocks_of_any_size_give_the_same(home: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(tablefile, "BLOCK", size)
    table = Table(write(home / "cases.parquet", columns()), SPEC)
    for i in (0, 5, 2, 3, 1, 4, 0):
        assert table.sample(i).inputs["question"] == f"is it {i}?"
    assert table._cells._block[1].height <= size


def test_files_are_read_when_their_row_is(home: Path) -> None:
    table = Table(write(home / "cases.csv", columns()), SPEC)
    (home / "pictures" / "3.png").unlink()
    assert [b.sample for b in table.load([0, 3]).quarantined] == ["r3"]
    assert table.load([0]).batch is not None


def test_a_table_travels_to_another_process(home: Path) -> None:
    for kind in KINDS:
        table = Table(write(home / f"cases{kind}", columns()), SPEC)
        back = pickle.loads(pickle.dumps(table))
        assert back.fingerprint() == table.fingerprint()
        assert torch.equal(load(back).inputs["image"], load(table).inputs["image"])


def test_the_fingerprint_follows_cells_files_and_meaning(home: Path) -> None:
    path = write(home / "cases.csv", columns())
    first = Table(path, SPEC).fingerprint()
    assert Table(path, SPEC).fingerprint() == first
    assert Table(path, {**SPEC, "groups": ["sex"]}).fingerprint() != first
    (home / "0.txt").write_text("a longer note")
    second = Table(path, SPEC).fingerprint()
    rows = columns()
    rows["age"][0] = 31.0
    write(path, rows)
    third = Table(path, SPEC).fingerprint()
    assert len({first, second, third}) == 3
    assert Table(path, SPEC).subset([0, 1]).fingerprint() != Table(path, SPEC).subset([0, 2]).fingerprint()


# The specification, wherever it is


def test_the_mapping_beside_the_table_in_words_that_yaml_mistakes(home: Path) -> None:
    path = write(home / "cases.csv", columns())
    (home / "cases.yaml").write_text(YAML)  # [no, yes] are truth values to YAML 1.1
    table = Table(path)
    assert table.schema.classes == ("no", "yes")
    assert load(table).targets.tolist() == [1, 0, 0, 1, 0, 1]
    (home / "cases.yaml").rename(home / "other.yml")
    assert load(Table(path, home / "other.yml")).ids == load(table).ids
    assert load(Table(path, parse_spec(SPEC, "here"))).ids == load(table).ids
    assert load(Table(path, **SPEC)).ids == load(table).ids
    (home / "other.yml").rename(home / "cases.yml")
    assert load(Table(path)).ids == load(table).ids


def test_a_mapping_given_twice_or_not_at_all(home: Path) -> None:
    path = write(home / "cases.csv", columns())
    with pytest.raises(AskedWrongly, match="given twice"):
        Table(path, SPEC, target="label")
    with pytest.raises(AskedWrongly, match=r"what the columns of .*cases\.csv are \(row_id, file.*Write cases\.yaml"):
        Table(path)
    with pytest.raises(AskedWrongly, match=r"none\.yaml cannot be read: No such file"):
        Table(path, home / "none.yaml")


WRONG_SPECS = [
    (
        "szie",
        {"inputs.image.size": None, "inputs.image.szie": [5, 4]},
        "inputs.image.szie is not known. Did you mean 'size'",
    ),
    ("kind", {"inputs.image.kind": "imag"}, "inputs.image.kind is 'imag'. Did you mean 'image'"),
    ("no kind", {"inputs.image.kind": None}, "inputs.image.kind is missing. Known: image, text"),
    ("extra", {"targets": "label"}, "targets is not known. Did you mean 'target'"),
    ("missing", {"target": None}, "target is missing"),
    ("no inputs", {"inputs": {}}, "inputs is {}"),
    ("size", {"inputs.image.size": [5]}, "inputs.image.size.1 is missing"),
    ("size of text", {"inputs.image.size": ["5", 4]}, "inputs.image.size.0 is '5'"),
    ("size of nothing", {"inputs.image.size": [0, 4]}, "inputs.image.size.0 is 0: Input should be greater than 0"),
    ("channels", {"inputs.image.channels": 2}, "inputs.image.channels is 2: Input should be 1, 3 or 4"),
    ("colour", {"inputs.image.fill": [0.1, 0.2]}, "fill has 2 numbers, expected 1 or 3"),
    ("bright colour", {"inputs.image.fill": [2.0]}, "fill must be in [0, 1]"),
    ("fills", {"inputs.vitals.fill": [1.0]}, "fill has 1 numbers, expected 2"),
    ("channel twice", {"inputs.ecg.channels": ["a", "a"]}, "channels has a channel twice"),
    ("one class", {"classes": ["no"]}, "classes is ['no']: List should have at least 2 items"),
    ("class twice", {"classes": ["no", "no"]}, "'no' is there twice"),
    ("decimal class", {"classes": [0.5, 1]}, "classes.0 is 0.5: Input should be a valid string"),
    ("splits", {"split": {"column": "part", "audited": "a", "reference": "a"}}, "must be different parts"),
    ("split", {"split": {"column": "part", "audit": "a"}}, "split.audit is not known. Did you mean 'audited'"),
]


@pytest.mark.parametrize(("changes", "message"), [w[1:] for w in WRONG_SPECS], ids=[w[0] for w in WRONG_SPECS])
def test_a_wrong_specification_names_the_place(home: Path, changes: dict[str, Any], message: str) -> None:
    import copy

    spec = copy.deepcopy(SPEC)
    for place, value in changes.items():
        *way, last = place.split(".")
        into = spec
        for step in way:
            into = into[step]
        if value is None:
            del into[last]
        else:
            into[last] = value
    with pytest.raises(AskedWrongly) as caught:
        Table(write(home / "cases.csv", columns()), spec)
    assert message in str(caught.value)
    assert "cases.csv" in str(caught.value)


def test_specifications_do_not_change() -> None:
    spec = parse_spec(SPEC, "here")
    with pytest.raises(ValueError, match="frozen"):
        spec.target = "other"
    assert TableSpec.model_validate_json(spec.model_dump_json(), strict=False) == spec


# Roots


def test_the_root_of_a_mapping_that_came_with_the_data_stays_with_the_data(home: Path) -> None:
    (home / "tables").mkdir()
    path = write(home / "tables" / "cases.csv", columns())
    (home / "tables" / "cases.yaml").write_text(YAML + "root: ..\n")
    with pytest.raises(AskedWrongly, match=r"names the root '\.\.', which is not within"):
        Table(path)
    assert load(Table(path, root=home)).ids == [f"r{i}" for i in range(N)]
    assert load(Table(path, {**SPEC, "root": ".."})).ids == [f"r{i}" for i in range(N)]
    assert load(Table(path, home / "tables" / "cases.yaml")).ids == [f"r{i}" for i in range(N)]
    with pytest.raises(AskedWrongly, match=r"root .* is not there"):
        Table(path, root=home / "nowhere")


def test_a_root_below_the_table(home: Path) -> None:
    rows = columns()
    rows["file"] = [f"{i}.png" for i in range(N)]
    spec = {"inputs": {"image": SPEC["inputs"]["image"]}, "target": "label"}
    table = Table(write(home / "cases.csv", rows), {**spec, "root": "pictures"})
    assert len(load(table)) == N
    rows["file"][0] = "../0.txt"
    assert len(Table(write(home / "cases.csv", rows), {**spec, "root": "pictures"}).load(range(N)).quarantined) == 1


# Tables that cannot be used

TEXT: dict[str, Any] = {"inputs": {"q": {"kind": "text", "column": "q"}}, "target": "y"}


def rows_of(**of: list[Any]) -> dict[str, list[Any]]:
    return {"q": ["a", "b"], "y": ["u", "v"], **of}


@pytest.mark.parametrize(
    ("of", "spec", "message"),
    [
        (
            rows_of(),
            {"inputs": {"q": {"kind": "text", "column": "qq"}}},
            "has no column 'qq' (inputs.q). Did you mean 'q'",
        ),
        (rows_of(), {"target": "Y"}, "has no column 'Y' (target). Did you mean 'y'"),
        (rows_of(), {"groups": ["sex"]}, "has no column 'sex' (groups)"),
        (rows_of(), {"id": "name"}, "has no column 'name' (id)"),
        (rows_of(), {"cluster": "p"}, "has no column 'p' (cluster)"),
        (rows_of(), {"split": {"column": "part", "audited": "x"}}, "has no column 'part' (split)"),
        (rows_of(i=["1", "1"]), {"id": "i"}, "column 'i' (id) has '1' in rows 1 and 2; ids must be distinct"),
        (rows_of(i=["1", None]), {"id": "i"}, "column 'i' (id) has no value in row 2"),
        (rows_of(y=["u", "u"]), {}, "column 'y' (target) has 1 distinct labels; name all `classes`"),
        (rows_of(y=[None, None]), {}, "column 'y' (target) has 0 distinct labels"),
        (rows_of(), {"classes": ["0", "1"]}, "no label in column 'y' ('u', 'v') is among the classes ('0', '1')"),
        (
            rows_of(s=["f", "m"]),
            {"inputs": {"v": {"kind": "tabular", "columns": ["s"]}}},
            "column 's' (inputs.v) holds no numbers ('f', …)",
        ),
        (
            rows_of(part=["tset", "train"]),
            {"split": {"column": "part", "audited": "test"}},
            "no row has 'test' in column 'part' (split.audited). Did you mean 'tset'",
        ),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_table_and_a_mapping_that_do_not_fit(
    tmp_path: Path, kind: str, of: dict[str, list[Any]], spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(AskedWrongly) as caught:
        open_table(write(tmp_path / f"t{kind}", of), {**TEXT, **spec})
    assert message in str(caught.value)
    assert f"t{kind}" in str(caught.value)


@pytest.mark.parametrize(
    ("frame", "spec", "message"),
    [
        ({"q": [1, 2], "y": ["u", "v"]}, {}, "column 'q' holds Int64, but inputs.q takes text"),
        ({"q": ["a", "b"], "y": [0.5, 1.5]}, {}, "column 'y' (target) holds decimal numbers, expected labels"),
        (
            {"q": ["a", "b"], "y": [["u"], ["v"]]},
            {},
            "column 'y' (target) holds List(String), expected names",
        ),
        (
            {"q": ["a", "b"], "y": ["u", "v"], "d": [[1], [2]]},
            {"inputs": {"v": {"kind": "tabular", "columns": ["d"]}}},
            "column 'd' holds List(Int64), but inputs.v takes numbers",
        ),
        (
            {"q": [1.0, 2.0], "y": ["u", "v"]},
            {"inputs": {"v": {"kind": "image", "column": "q", "size": [2, 2]}}},
            "column 'q' holds Float64, but inputs.v takes file names or bytes",
        ),
    ],
)
def test_columns_of_a_type_that_cannot_be_meant(
    tmp_path: Path, frame: dict[str, list[Any]], spec: dict[str, Any], message: str
) -> None:
    for kind in (".parquet", ".jsonl"):
        with pytest.raises(AskedWrongly) as caught:
            Table(write(tmp_path / f"t{kind}", frame), {**TEXT, **spec})
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "held", "message"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b"q,y\n", "has no rows"),
        ("t.csv", b"q,y,q\na,u,b\nb,v,a\n", "has two columns 'q'; rename one"),
        ("t.csv", b"q,y,n\na,u,1\nb,c,v,2\n", "is not readable as .csv"),
        ("t.csv", b"q,y\na,u\nb,v,w\n", "is not readable as .csv"),
        ("t.csv", "q,y\nä,u\nb,v\n".encode("latin-1"), "save it as UTF-8"),
        ("t.csv", b"q,y\n\n\n", "has no rows"),
        ("t.csv", b'q,y\na"b,u\nc,v\n', "is not readable as .csv"),
        ("t.parquet", b"", "is empty"),
        ("t.parquet", b"PAR1 and then nothing", "is not readable as .parquet"),
        ("t.jsonl", b"", "is empty"),
        ("t.jsonl", b'{"q": "a"', "is not readable as .jsonl"),
        ("t.jsonl", b"words\n", "is not readable as .jsonl"),
        ("t.jsonl", b"\n", "is not readable as .jsonl"),
        ("t.xlsx", b"", "has the ending '.xlsx'; tables are .csv, .parquet, .jsonl: save it as one of these"),
        ("t", b"", "has the ending ''; tables are"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, name: str, held: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(held)
    with pytest.raises(AskedWrongly) as caught:
        Table(tmp_path / name, TEXT)
    assert message in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_an_empty_line_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('q,y\n"a\n\nb",u\n\nc,v\n\n')
    (tmp_path / "t.jsonl").write_text('{"q": "a\\n\\nb", "y": "u"}\n\n{"q": "c", "y": "v"}\n\n')
    for kind in (".csv", ".jsonl"):
        table = Table(tmp_path / f"t{kind}", TEXT)
        assert table.ids == ["t-0", "t-1"]
        assert load(table).inputs["q"] == ["a\n\nb", "c"]


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path / "cases.csv", rows_of())
    with pytest.raises(AskedWrongly, match=r"caes\.csv is not there\. Did you mean 'cases\.csv'"):
        Table(tmp_path / "caes.csv", TEXT)
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(AskedWrongly, match="is a directory"):
        Table(tmp_path / "d.csv", TEXT)
    for name in ("*.csv", "http://localhost:1/t.csv", "s3://bucket/t.parquet"):  # no patterns, no addresses
        with pytest.raises(AskedWrongly, match="is not there"):
            Table(name, TEXT)


def test_a_table_whose_name_is_a_pattern(tmp_path: Path) -> None:
    path = write(tmp_path / "t[1]*.csv", rows_of())
    write(tmp_path / "t1x.csv", rows_of(q=["other", "other"]))
    assert load(Table(path, TEXT)).inputs["q"] == ["a", "b"]


# Splits

PARTS = {"column": "part", "audited": "test", "reference": "valid", "members": "train"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_of_parts(home: Path, kind: str) -> None:
    splits = open_table(write(home / f"cases{kind}", columns()), {**SPEC, "split": PARTS})
    assert {name: list(data.ids) for name, data in splits.items()} == {
        "audited": ["r0", "r1"],
        "reference": ["r2", "r3"],
        "members": ["r4"],
    }
    splits.check()
    assert [data.name for _, data in splits.items()] == ["cases", "cases (reference)", "cases (members)"]
    assert splits.reference is not None
    assert load(splits.reference).inputs["question"] == ["is it 2?", "is it 3?"]
    assert splits.reference.clusters() == ["p1", "p1"]


def test_without_parts_all_is_audited_and_a_reference_splits_off_by_patient(home: Path) -> None:
    splits = open_table(write(home / "cases.csv", columns()), SPEC)
    assert (len(splits.audited), splits.reference, splits.members) == (N, None, None)
    for i in range(N):  # which rows go where needs no picture
        (home / "pictures" / f"{i}.png").unlink()
    off = split_off(splits.audited, 0.4, seed=0)
    assert off.reference is not None
    assert len(off.reference) == 2
    assert not set(off.audited.clusters()) & set(off.reference.clusters())


def test_a_patient_in_two_parts_is_refused(home: Path) -> None:
    rows = columns()
    rows["patient"][3] = "p0"
    with pytest.raises(AskedWrongly, match=r"patient 'p0' is in both 'test' \(audited\) and 'valid' \(reference\)"):
        open_table(write(home / "cases.csv", rows), {**SPEC, "split": PARTS})
    members_only = {k: v for k, v in PARTS.items() if k != "reference"}
    assert len(open_table(home / "cases.csv", {**SPEC, "split": members_only}).audited) == 2
