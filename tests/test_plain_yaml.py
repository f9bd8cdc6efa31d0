"""YAML as people mean it, and complaints that say where."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from muroan import plain_yaml
from muroan.errors import AskedWrongly


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("+3", 3),
        ("01", "01"),
        ("0o17", "0o17"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("1.50", 1.5),
        (".5", 0.5),
        ("-1e-3", -1e-3),
        ("1.5E+2", 150.0),
        (".nan", ".nan"),
        (".inf", ".inf"),
        ("1.2.3", "1.2.3"),
        ("'1'", "1"),
        ("=", "="),
        ("[no, 007, 1]", ["no", "007", 1]),
    ],
)
def test_scalars(text: str, value: object) -> None:
    found = plain_yaml.parse(f"a: {text}", "here")["a"]
    assert found == value
    assert type(found) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.booleans() | st.none())
def test_what_pyyaml_writes_comes_back(value: object) -> None:
    found = plain_yaml.parse(yaml.safe_dump({"a": value}), "here")["a"]
    assert found == value or (isinstance(value, float) and math.isclose(found, value))


@given(st.text())
def test_any_text_is_a_mapping_or_a_complaint(text: str) -> None:
    try:
        found = plain_yaml.parse(text, "here")
    except AskedWrongly as error:
        message = str(error)
    else:
        message = "here"
        assert isinstance(found, dict)
    assert message.startswith("here")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: 1\nb: 2\na: 3\n", "here line 3: the key 'a' is there twice"),
        ("a: {b: 1, b: 2}\n", "here line 1: the key 'b' is there twice"),
        ("a: &x 1\nb: *x\n", "here line 2: aliases are not read"),
        ("- a\n", "here holds list, expected keys"),
        ("", "here holds NoneType, expected keys"),
        ("words", "here holds str, expected keys"),
        ("a: [1\n", "here line 2:"),
        ("a: !!python/object/apply:os.system ['echo']\n", "here line 1: could not determine a constructor"),
        ("[1]: 2\n", "here line 1: a key is not a word"),
        ("a: \x07\n", "here is not readable as YAML"),
        ("[" * 5000, "here is not readable as YAML"),
    ],
)
def test_complaints(text: str, complaint: str) -> None:
    with pytest.raises(AskedWrongly) as caught:
        plain_yaml.parse(text, "here")
    assert str(caught.value).startswith(complaint)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: \xc3\xa4\n")
    assert plain_yaml.read(path) == {"a": "ä"}
    path.write_bytes(b"a: \xe4\n")
    with pytest.raises(AskedWrongly, match="save it as UTF-8"):
        plain_yaml.read(path)
    path.write_bytes(b"#" * (plain_yaml.MAX_BYTES + 1))
    with pytest.raises(AskedWrongly, match="is larger than 4 MiB"):
        plain_yaml.read(path)
    with pytest.raises(AskedWrongly, match="No such file"):
        plain_yaml.read(tmp_path / "none.yaml")
    with pytest.raises(AskedWrongly, match="Is a directory"):
        plain_yaml.read(tmp_path)
