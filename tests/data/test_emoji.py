"""Emoji: as many as published, near-duplicates on one side, and refused with a reason where they are not there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from muroan import checks
from muroan.data import emoji as data
from muroan.data import emoji_files as files
from muroan.data.emoji_words import caption, form_of, lexicon, words
from muroan.errors import AskedWrongly, CannotComplete
from muroan.references import open_data

try:
    files.folder()
    MISSING = ""
except AskedWrongly as error:
    MISSING = str(error)
needs_packages = pytest.mark.skipif(bool(MISSING), reason=MISSING or "there")


# A miniature of both packages: no install needed


@pytest.fixture
def miniature(tmp_path: Path) -> Path:
    """Three emoji with words, two of them with a picture: a red square on nothing, and a half-transparent black one."""
    for package, version in files.PACKAGES.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / "package.json").write_text(json.dumps({"version": version}))
    entries = [
        {"hexcode": "2764-FE0F", "label": "red heart", "tags": ["love", "heart"], "group": 0},
        {"hexcode": "1F468-200D-1F33E", "label": "man farmer", "group": 1},
        {"hexcode": "1FA8A", "label": "trombone", "tags": ["music"], "group": 7},
    ]
    for locale in ("en", "de"):
        (tmp_path / "emojibase-data" / locale).mkdir()
        told = entries if locale == "en" else [{**e, "label": "rotes Herz", "tags": ["Liebe"]} for e in entries]
        (tmp_path / "emojibase-data" / locale / "data.json").write_text(json.dumps(told))
    google = tmp_path / "emoji-datasource-google"
    (google / "img" / "google" / "64").mkdir(parents=True)
    pictured = [("2764", "2764-fe0f.png", (255, 0, 0, 255)), ("1F468-200D-1F33E", "farmer.png", (0, 0, 0, 51))]
    (google / "emoji.json").write_text(json.dumps([{"unified": u, "image": f} for u, f, _ in pictured]))
    for _, file, colour in pictured:
        picture = Image.new("RGBA", (64, 64), (0, 255, 0, 0))  # what is transparent is green, which nobody must see
        picture.paste(colour, (0, 0, 32, 64))
        picture.save(google / "img" / "google" / "64" / file)
    return tmp_path


def test_entries_are_matched_without_the_variation_selector(miniature: Path) -> None:
    heart, farmer = files.read(miniature, pairs=2)
    assert (heart.code, heart.label, heart.tags, heart.group) == (
        "2764",
        "red heart",
        ("love", "heart"),
        files.GROUPS[0],
    )
    assert (farmer.code, farmer.base, farmer.tags) == ("1F468-200D-1F33E", "1F9D1-200D-1F33E", ())
    assert files.read(miniature, pairs=2, locale="de")[0].label == "rotes Herz"
    with pytest.raises(AskedWrongly, match="Did you mean 'de'"):
        files.read(miniature, pairs=2, locale="dee")


def test_pictures_lie_on_white(miniature: Path) -> None:
    heart, farmer = files.read_pictures(miniature, ["2764", "1F468-200D-1F33E"])
    assert heart.shape == (32, 32, 3)
    assert np.all(heart[:, :16] == (255, 0, 0))
    assert np.all(heart[:, 16:] == 255)
    assert np.all(farmer[:, :16] == 204)  # a fifth of black over white
    assert np.all(farmer[:, 16:] == 255)


def test_a_partial_copy_is_refused(miniature: Path) -> None:
    with pytest.raises(CannotComplete, match="2 emoji with words and a picture, not 1911: a partial copy"):
        files.read(miniature)
    (miniature / "emoji-datasource-google" / "img" / "google" / "64" / "farmer.png").unlink()
    with pytest.raises(CannotComplete, match=r"farmer\.png is missing"):
        files.read_pictures(miniature, ["2764", "1F468-200D-1F33E"])
    (miniature / "emojibase-data" / "en" / "data.json").write_text("[{")
    with pytest.raises(CannotComplete, match=r"data\.json is missing or not readable"):
        files.read(miniature, pairs=2)


def test_another_version_is_refused(miniature: Path) -> None:
    (miniature / "emojibase-data" / "package.json").write_text(json.dumps({"version": "16.0.3"}))
    with pytest.raises(AskedWrongly, match=r"version 16\.0\.3, not 17\.0\.0; install emojibase-data@17\.0\.0"):
        files.read(miniature, pairs=2)


def test_where_the_packages_are_looked_for(
    miniature: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUROAN_NODE_MODULES", str(miniature))
    assert files.folder() == miniature
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setenv("MUROAN_NODE_MODULES", str(elsewhere))
    wanted = r"npm install --prefix \S+ emojibase-data@17\.0\.0 emoji-datasource-google@16\.0\.0"
    with pytest.raises(AskedWrongly, match=wanted):  # what was named is meant: nowhere else is looked
        files.folder()
    monkeypatch.delenv("MUROAN_NODE_MODULES")
    monkeypatch.setattr(files.sys, "prefix", str(elsewhere))
    (elsewhere / "node_modules").symlink_to(miniature)
    assert files.folder() == elsewhere / "node_modules"
    (elsewhere / "node_modules").unlink()
    (elsewhere / "here").mkdir()
    (elsewhere / "here" / "node_modules").symlink_to(miniature)
    monkeypatch.chdir(elsewhere / "here")
    assert files.folder() == elsewhere / "here" / "node_modules"


# Words


def test_near_duplicates_share_a_base() -> None:
    variants = ["1F468-200D-1F33E", "1F469-200D-1F33E", "1F9D1-200D-1F33E"]
    assert {files.base(c) for c in variants} == {"1F9D1-200D-1F33E"}
    assert {files.base(c) for c in ("1F64D", "1F64D-200D-2642-FE0F", "1F64D-200D-2640-FE0F")} == {"1F64D"}
    assert files.base("1F1E6-1F1E9") != files.base("1F1E6-1F1EA")


def test_captions_are_lower_case_words_that_each_say_something_new() -> None:
    assert words("flag: Côte d’Ivoire") == ["flag", "côte", "d’ivoire"]
    assert caption("onion", ["Onion", "flavoring", "red onion"]) == "onion flavoring red"
    assert caption("a b c d", ["e f", "g h i", "j"], limit=7) == "a b c d e f j"
    assert caption("keycap: #", []) != caption("keycap: *", [])


def test_forms_of_a_word_are_equal_where_one_emoji_bears_both() -> None:
    assert all(form_of(*p) for p in (("hearts", "heart"), ("babies", "baby"), ("waving", "wave"), ("hugging", "hug")))
    assert not any(form_of(*p) for p in (("heart", "hearts"), ("sun", "sung"), ("art", "arty"), ("heart", "heart")))

    def bearing(*tags: str) -> files.Emoji:
        return files.Emoji(code="1", label="x", tags=tags, group="objects", base="1")

    assert lexicon([bearing("new"), bearing("news")]) == ()
    assert dict(lexicon([bearing("cats", "cat"), bearing("kiss", "kisses", "kissing")])) == {
        "cat": ("cats",),
        "cats": ("cat",),
        "kiss": ("kisses", "kissing"),
        "kisses": ("kiss",),
        "kissing": ("kiss",),
    }


# The packages themselves


@needs_packages
def test_counts_and_splits() -> None:
    splits = open_data("emoji")
    assert {n: len(d) for n, d in splits.items()} == {"audited": 485, "reference": 489, "members": 937}
    assert len({i for _, d in splits.items() for i in d.ids}) == files.PAIRS
    bases = [set(d.clusters()) for _, d in splits.items()]
    assert not any(a & b for i, a in enumerate(bases) for b in bases[:i])
    members = splits.members
    assert members is not None
    batch = members.first(len(members))
    assert set(batch.targets.tolist()) == {1}
    assert np.allclose(batch.inputs["image"].mean((0, 2, 3)), data.MEAN_COLOUR, atol=1e-3)
    assert all(text == text.lower() and text.split() for text in batch.inputs["text"])


@needs_packages
def test_groups_are_pictures_alone_on_the_same_sides() -> None:
    pairs, groups = open_data("emoji"), open_data("emoji-groups")
    assert {n: len(d) for n, d in groups.items()} == {"audited": 418, "reference": 423, "members": 795}
    for (_, a), (_, b) in zip(groups.items(), pairs.items(), strict=True):
        assert set(a.ids) < set(b.ids)
    assert groups.audited.schema.modalities.keys() == {"image"}
    assert not {"flags", "component"} & set(groups.audited.schema.classes)


@needs_packages
def test_a_picture_is_of_its_caption() -> None:
    everything = {e.label: n for n, e in enumerate(data.entries())}
    red, green = (data.pictures()[everything[f"{c} circle"]].astype(int) for c in ("red", "green"))
    assert (red[16, 16] - green[16, 16])[0] > 100 > -100 > (red[16, 16] - green[16, 16])[1]


@needs_packages
def test_further_captions_are_of_the_same_emoji_and_repeat() -> None:
    ids = list(open_data("emoji").audited.ids[:50])
    some = data.captions(ids, 4)
    assert [row[0] for row in some] == [open_data("emoji").audited.sample(i).inputs["text"] for i in range(50)]
    assert data.captions(ids[7:8], 4) == some[7:8]
    assert sum(len(set(row)) > 2 for row in some) > 30
    known = {e.code: e for e in data.entries()}
    for code, row in zip(ids, some, strict=True):
        said = set(words(" ".join((known[code].label, *known[code].tags))))
        assert all(set(c.split()) <= said for c in row)
    assert data.captions(["1F600"], 1, "de")[0][0].startswith("grinsendes gesicht")


@needs_packages
def test_the_lexicon_reaches_half_of_the_captions() -> None:
    audited = open_data("emoji").audited
    forms = dict(audited.schema.modalities["text"].lexicon)  # type: ignore[attr-defined]
    assert len(forms) > 300
    texts = [str(audited.sample(i).inputs["text"]) for i in range(len(audited))]
    assert sum(any(w in forms for w in t.split()) for t in texts) / len(texts) > 0.5


@needs_packages
def test_another_vendor_draws_the_same_emoji_and_says_the_same_of_them() -> None:
    for name in ("emoji", "emoji-groups"):
        ours, theirs = open_data(name), open_data(f"{name}-twitter")
        for (_, a), (_, b) in zip(ours.items(), theirs.items(), strict=True):
            assert list(a.ids) == list(b.ids)
            assert a.schema == b.schema
            assert a.fingerprint() != b.fingerprint()
        for split, differ in (("audited", True), ("reference", False), ("members", False)):
            a, b = (getattr(s, split).load(range(100)).batch for s in (ours, theirs))
            assert a.targets.tolist() == b.targets.tolist()
            assert a.inputs.get("text") == b.inputs.get("text")
            change = (a.inputs["image"] - b.inputs["image"]).abs().mean((1, 2, 3))
            assert bool((change > 0.01).all()) is differ
            assert bool((change > 0).any()) is differ


def test_without_the_second_vendor_it_says_what_to_install(miniature: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUROAN_NODE_MODULES", str(miniature))
    wanted = r"npm install --prefix \S+ emojibase-data@17\.0\.0 .*emoji-datasource-twitter@16\.0\.0"
    for make in (data.emoji_twitter, data.emoji_groups_twitter):
        monkeypatch.setattr(data, "_parts", lambda: {"audited": [], "reference": [], "members": []})
        monkeypatch.setattr(data, "entries", lambda: ())
        with pytest.raises(AskedWrongly, match=wanted):
            make()
    with pytest.raises(AskedWrongly, match="unknown vendor 'aple'"):
        files.folder("aple")
    twitter = miniature / "emoji-datasource-twitter"
    twitter.mkdir()
    (twitter / "package.json").write_text(json.dumps({"version": "15.0.0"}))
    with pytest.raises(AskedWrongly, match=r"version 15\.0\.0, not 16\.0\.0"):
        files.read_pictures(files.folder("twitter"), ["2764"], "twitter")
    (twitter / "package.json").write_text(json.dumps({"version": "16.0.0"}))
    (twitter / "emoji.json").write_text("[]")
    with pytest.raises(CannotComplete, match="no picture of 2764"):
        files.read_pictures(miniature, ["2764"], "twitter")


CONTRACTS = (
    []
    if MISSING
    else [c for name in ("emoji", "emoji-groups", "emoji-twitter") for c in checks.of(open_data(name).audited)]
)


@needs_packages
@pytest.mark.parametrize("check", CONTRACTS, ids=str)
def test_promise(check: checks.Check) -> None:
    check()
