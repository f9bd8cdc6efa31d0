"""Files below one root: what is good is read to the value, what is bad says why, what is elsewhere is not read."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pictures

from muroan.data import media
from muroan.data.media import read_picture, read_sound, read_text
from muroan.data.root import Root
from muroan.data.series import read_series
from muroan.errors import AskedWrongly, BadSample
from muroan.modality import Image

RNG = np.random.default_rng(0)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A root with a file in it, beside a directory with a secret."""
    (tmp_path / "root" / "sub").mkdir(parents=True)
    (tmp_path / "root" / "ok.txt").write_text("fine")
    (tmp_path / "root" / "sub" / "ok.txt").write_text("fine too")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.txt").write_text("secret")
    return tmp_path / "root"


# Where a name leads


def test_names_below_the_root_are_found(home: Path) -> None:
    root = Root.at(home)
    assert read_text(root.file("ok.txt")) == "fine"
    assert read_text(root.file("./sub/ok.txt")) == "fine too"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "file name is empty"),
        ("  ", "file name is empty"),
        ("a\0b", "NUL"),
        ("missing.txt", "'missing.txt' is missing"),
        ("ok.txt/inner", "cannot be reached: Not a directory"),
        ("sub", "'sub' is not a regular file"),
        (".", "'.' is not a regular file"),
        ("../secret/key.txt", "has '..' in it"),
        ("sub/../ok.txt", "has '..' in it"),
        ("..\\secret\\key.txt", "has '..' in it"),
        ("/etc/passwd", "is an absolute path"),
        ("//server/share", "is an absolute path"),
        ("\\\\server\\share", "is an absolute path"),
        ("C:\\Windows\\win.ini", "is an absolute path"),
        ("http://example.org/x.png", "is an address"),
        ("HTTPS://example.org/x.png", "is an address"),
        ("s3://bucket/x.png", "is an address"),
        ("file:ok.txt", "is an address"),
        ("data:image/png;base64,AAAA", "is an address"),
        ("x" * 5000, "cannot be reached: File name too long"),
    ],
)
def test_names_that_are_not_files_below_the_root(home: Path, name: str, reason: str) -> None:
    with pytest.raises(BadSample) as caught:
        Root.at(home).file(name)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 250


def test_home_and_environment_are_not_expanded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    for name in ("~/ok.txt", "$HOME/ok.txt", "*.txt"):
        with pytest.raises(BadSample, match="is missing"):
            Root.at(home).file(name)


def test_links_may_stay_inside_and_not_leave(home: Path) -> None:
    (home / "inside").symlink_to("sub/ok.txt")
    (home / "out").symlink_to("../secret/key.txt")
    (home / "outdir").symlink_to(home.parent / "secret")
    (home / "chain").symlink_to("out")
    (home / "loop").symlink_to("loop")
    (home / "dangling").symlink_to("nowhere")
    root = Root.at(home)
    assert read_text(root.file("inside")) == "fine too"
    for name in ("out", "outdir/key.txt", "chain"):
        with pytest.raises(BadSample, match="is a link that leads out of the table's root"):
            root.file(name)
    with pytest.raises(BadSample, match="cannot be reached"):
        root.file("loop")
    with pytest.raises(BadSample, match="is missing"):
        root.file("dangling")


def test_a_root_that_is_a_link_is_the_directory_it_leads_to(home: Path) -> None:
    (home.parent / "alias").symlink_to(home)
    assert read_text(Root.at(home.parent / "alias").file("ok.txt")) == "fine"


def test_a_pipe_is_not_waited_for(home: Path) -> None:
    os.mkfifo(home / "pipe")
    with pytest.raises(BadSample, match="is not a regular file"):
        Root.at(home).file("pipe")


def test_a_huge_file_is_refused_unread(home: Path) -> None:
    with (home / "huge.txt").open("wb") as file:
        file.truncate((512 << 20) + 1)  # sparse: takes no room
    with pytest.raises(BadSample, match="has 512 MiB, more than 512"):
        Root.at(home).file("huge.txt")


@pytest.mark.parametrize("name", ["nowhere", "ok.txt"])
def test_a_root_that_is_no_directory(home: Path, name: str) -> None:
    with pytest.raises(AskedWrongly, match="root is the directory of the files"):
        Root.at(home / name)


_PIECES = st.sampled_from(
    ["..", ".", "/", "\\", "secret", "key.txt", "ok.txt", "sub", "out", "~", "C:", "//", "\0", " "]
)


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("trap")
    (top / "root" / "sub").mkdir(parents=True)
    for place in ("root/ok.txt", "root/sub/ok.txt"):
        (top / place).write_text("fine")
    (top / "secret").mkdir()
    (top / "secret" / "key.txt").write_text("secret")
    (top / "key.txt").write_text("secret")
    (top / "root" / "out").symlink_to(top / "secret")
    (top / "root" / "secret").symlink_to("../secret/key.txt")
    return top


@given(
    name=st.one_of(st.lists(_PIECES, max_size=8).map("".join), st.lists(_PIECES, max_size=8).map("/".join), st.text())
)
def test_no_spelling_leads_out(trap: Path, name: str) -> None:
    root = Root.at(trap / "root")
    try:
        found = root.file(name)
    except BadSample:
        return
    assert found.is_relative_to(root.path)
    assert found.read_text() == "fine"


# Pictures


def picture(height: int = 6, width: int = 4, mode: str = "RGB") -> Pictures.Image:
    return Pictures.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


def write(path: Path, what: Pictures.Image, **options: object) -> Path:
    what.save(path, **options)
    return path


def as_bytes(what: Pictures.Image, kind: str = "PNG") -> bytes:
    held = io.BytesIO()
    what.save(held, kind)
    return held.getvalue()


@pytest.mark.parametrize("kind", ["png", "bmp", "ppm", "tiff", "webp"])
def test_lossless_pictures_come_back_pixel_for_pixel(tmp_path: Path, kind: str) -> None:
    made = picture()
    path = write(tmp_path / f"p.{kind}", made, **({"lossless": True} if kind == "webp" else {}))
    for source in (path, path.read_bytes()):
        assert np.array_equal(np.asarray(read_picture(source, size=(6, 4), mode="RGB")), np.asarray(made))


def test_a_picture_is_known_by_its_content_and_not_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "really-a-jpeg.png", picture(64, 64), format="JPEG")
    assert read_picture(path, size=(64, 64), mode="RGB").size == (64, 64)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "p.png", Pictures.new("RGB", (4, 6), "red"))
    assert read_picture(path, size=(6, 4), mode="RGB").getpixel((0, 0)) == (255, 0, 0)
    write(path, picture())
    os.utime(path, ns=(1, 1))
    assert read_picture(path, size=(6, 4), mode="RGB").getpixel((0, 0)) != (255, 0, 0)


def test_another_size_is_refused_or_scaled(tmp_path: Path) -> None:
    path = write(tmp_path / "p.png", Pictures.new("RGB", (8, 12), (10, 200, 30)))
    with pytest.raises(BadSample, match=r"'p.png' is 12×8 pixels \(height × width\), expected 6×4; `resize: true`"):
        read_picture(path, size=(6, 4), mode="RGB")
    scaled = np.asarray(read_picture(path, size=(6, 4), mode="RGB", resize=True))
    assert scaled.shape == (6, 4, 3)
    assert (scaled == (10, 200, 30)).all()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1"])
@pytest.mark.parametrize("resize", [False, True])
def test_modes_that_convert_without_loss_of_range(mode: str, resize: bool) -> None:
    grey = Pictures.new("L", (8, 12) if resize else (4, 6), 255).convert(mode)
    read = read_picture(as_bytes(grey), size=(6, 4), mode="RGB", resize=resize)
    assert (Image(size=(6, 4)).check(read) == 1).all()


def test_a_palette_with_transparency_is_no_warning() -> None:
    made = Pictures.new("P", (4, 6), 1)
    made.putpalette([0, 0, 0, 255, 0, 0])
    made.info["transparency"] = b"\x00\xff"
    held = io.BytesIO()
    made.save(held, "PNG", transparency=b"\x00\xff")
    read = read_picture(held.getvalue(), size=(6, 4), mode="RGB")
    assert Image(size=(6, 4)).check(read)[:, 0, 0].tolist() == [1, 0, 0]


def sixteen_bits() -> bytes:
    return as_bytes(Pictures.fromarray(np.full((6, 4), 4000, dtype=np.uint16)))


@pytest.mark.parametrize("resize", [False, True])
@pytest.mark.parametrize(
    ("make", "mode"),
    [(sixteen_bits, "I;16"), (lambda: as_bytes(picture(mode="CMYK"), "JPEG"), "CMYK")],
    ids=["16 bits", "CMYK"],
)
def test_modes_that_would_lose_something_are_refused(make: Callable[[], bytes], mode: str, resize: bool) -> None:
    size = (6, 4) if not resize else (3, 2)
    read = read_picture(make(), size=size, mode="RGB", resize=resize)
    with pytest.raises(BadSample, match=f"picture has mode {mode}, expected RGB"):
        Image(size=size).check(read)


def test_broken_pictures_say_so(tmp_path: Path) -> None:
    good = as_bytes(picture(64, 64))
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 0xFF
    broken = {
        "cut.png": (good[: len(good) // 2], "is not a readable picture"),
        "damaged.png": (bytes(damaged), "is not a readable picture"),
        "header.png": (good[:20], "is not a"),
        "text.png": (b"just some words", "is not a picture"),
        "empty.png": (b"", "is not a picture"),
        "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 6\nshowpage\n", "is not a picture"),
        "vector.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a picture"),
    }
    for name, (held, reason) in broken.items():
        (tmp_path / name).write_bytes(held)
        with pytest.raises(BadSample, match=f"'{name}' {reason}"):
            read_picture(tmp_path / name, size=(64, 64), mode="RGB")
        with pytest.raises(BadSample, match=f"content of {len(held)} bytes {reason}"):
            read_picture(held, size=(64, 64), mode="RGB")


WHOLE = {kind: as_bytes(picture(16, 16), kind) for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP")}


@given(at=st.integers(0, 10_000), mask=st.integers(1, 255), kind=st.sampled_from(list(WHOLE)))
def test_a_damaged_byte_is_a_picture_or_a_reason(at: int, mask: int, kind: str) -> None:
    held = bytearray(WHOLE[kind])
    held[at % len(held)] ^= mask
    with contextlib.suppress(BadSample):
        read = read_picture(bytes(held), size=(16, 16), mode="RGB", resize=True)
        assert Image(size=(16, 16)).check(read).shape == (3, 16, 16)


@pytest.mark.parametrize("factor", [1.5, 3.0])
def test_a_decompression_bomb_is_refused_before_it_unpacks(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Pillow only warns of up to twice its limit; here both are reasons."""
    monkeypatch.setattr(Pictures, "MAX_IMAGE_PIXELS", int(64 * 64 / factor))
    for resize in (False, True):
        with pytest.raises(BadSample, match="would unpack to more than"):
            read_picture(as_bytes(picture(64, 64)), size=(64, 64), mode="RGB", resize=resize)


def test_a_real_bomb_costs_nothing() -> None:
    """A PNG of 50,000 × 50,000 pixels in a hundred bytes."""
    import zlib

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )
    with pytest.raises(BadSample, match="would unpack to more than"):
        read_picture(bomb, size=(64, 64), mode="RGB", resize=True)


def test_several_frames_are_not_one_picture() -> None:
    held = io.BytesIO()
    picture(6, 4).save(held, "GIF", save_all=True, append_images=[picture(6, 4)])
    with pytest.raises(BadSample, match="has several frames"):
        read_picture(held.getvalue(), size=(6, 4), mode="RGB")


def test_a_phones_picture_is_its_first_view() -> None:
    held = io.BytesIO()
    Pictures.new("RGB", (4, 6), "red").save(held, "MPO", save_all=True, append_images=[Pictures.new("RGB", (4, 6))])
    read = read_picture(held.getvalue(), size=(6, 4), mode="RGB")
    assert np.asarray(read)[..., 0].min() > 250


# Sounds


def wav(path: Path, values: np.ndarray, *, rate: int = 8000, width: int = 2, channels: int = 1) -> Path:
    """A PCM file written by the standard library. values in [-1, 1]."""
    full = 2 ** (8 * width - 1)
    ints = np.clip(np.round(values * full), -full, full - 1).astype(np.int64)
    if width == 1:
        ints = ints + 128
    raw = b"".join(int(v).to_bytes(width, "little", signed=width > 1) for v in ints.ravel())
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(raw)
    return path


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_wav_of_every_width_is_what_was_written(tmp_path: Path, width: int) -> None:
    values = np.array([0.0, 0.5, -0.5, -1.0, 0.25, 127 / 128])
    path = wav(tmp_path / "s.wav", values, width=width)
    for source in (path, path.read_bytes()):
        read = read_sound(source, rate=8000, length=6)
        assert read.dtype == np.float32
        assert np.array_equal(read, values.astype(np.float32))


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_both_readers_agree(tmp_path: Path, subtype: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    values = RNG.uniform(-1, 1, 50)
    soundfile.write(tmp_path / "s.wav", values, 8000, subtype=subtype)
    ours = read_sound(tmp_path / "s.wav", rate=8000, length=50)
    theirs, _ = soundfile.read(tmp_path / "s.wav", dtype="float32")
    assert np.abs(ours - theirs).max() < 1e-7
    assert np.abs(ours - values).max() < (0.01 if subtype == "PCM_U8" else 1e-4)


@pytest.mark.parametrize("kind", ["flac", "ogg"])
def test_other_sounds(tmp_path: Path, kind: str) -> None:
    soundfile = pytest.importorskip("soundfile")
    values = 0.5 * np.sin(np.arange(800) / 9)
    soundfile.write(tmp_path / f"s.{kind}", values, 8000)
    path = tmp_path / f"s.{kind}"
    for source in (path, path.read_bytes()):
        read = read_sound(source, rate=8000, length=800)
        assert np.abs(read - values).max() < (1e-4 if kind == "flac" else 0.1)
    with pytest.raises(BadSample, match="has 800 samples, expected 700"):
        read_sound(path, rate=8000, length=700)
    assert np.array_equal(read_sound(path, rate=8000, length=700, fit=True), read[:700])


def test_another_length_is_refused_or_made_to_fit(tmp_path: Path) -> None:
    path = wav(tmp_path / "s.wav", np.array([0.5, -0.5, 0.25]))
    for length in (2, 4):
        with pytest.raises(BadSample, match=f"'s.wav' has 3 samples, expected {length}; `fit: true`"):
            read_sound(path, rate=8000, length=length)
    assert read_sound(path, rate=8000, length=2, fit=True).tolist() == [0.5, -0.5]
    assert read_sound(path, rate=8000, length=4, fit=True).tolist() == [0.5, -0.5, 0.25, 0.0]


def test_bad_sounds_say_so(tmp_path: Path) -> None:
    whole = wav(tmp_path / "whole.wav", RNG.uniform(-1, 1, 400)).read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[:-300])
    (tmp_path / "header.wav").write_bytes(whole[:30])
    wav(tmp_path / "stereo.wav", np.zeros((400, 2)), channels=2)
    wav(tmp_path / "slow.wav", np.zeros(400), rate=4000)
    wav(tmp_path / "none.wav", np.zeros(0))
    for name, reason in {
        "cut.wav": "is cut off",
        "header.wav": "is not a readable sound",
        "stereo.wav": "has 2 channels, expected 1; mix it down first",
        "slow.wav": "has 4000 samples a second, expected 8000; resample it first",
        "none.wav": "has no samples",
    }.items():
        for fit in (False, True):
            with pytest.raises(BadSample, match=f"'{name}' {reason}"):
                read_sound(tmp_path / name, rate=8000, length=400, fit=fit)
    with pytest.raises(BadSample, match="is cut off"):
        read_sound((tmp_path / "cut.wav").read_bytes(), rate=8000, length=400, fit=True)


def test_text_that_is_called_a_sound(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    (tmp_path / "s.wav").write_text("words")
    with pytest.raises(BadSample, match=r"'s\.wav' is not a readable sound"):
        read_sound(tmp_path / "s.wav", rate=8000, length=5)


def test_without_soundfile_wav_works_and_the_rest_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)  # what a missing package looks like to `import`
    path = wav(tmp_path / "s.wav", np.array([0.5, -0.5]))
    assert read_sound(path, rate=8000, length=2).tolist() == [0.5, -0.5]
    (tmp_path / "s.flac").write_bytes(b"fLaC" + bytes(40))
    with pytest.raises(AskedWrongly, match=r"pip install 'muroan\[media\]'"):
        read_sound(tmp_path / "s.flac", rate=8000, length=2)


# Series


VALUES = RNG.normal(size=(5, 2))


def series_files(folder: Path) -> list[Path]:
    frame = pl.DataFrame({"b": VALUES[:, 1], "other": ["x"] * 5, "a": VALUES[:, 0]})
    frame.write_csv(folder / "s.csv")
    frame.write_parquet(folder / "s.parquet")
    np.save(folder / "s.npy", VALUES)
    return [folder / f"s.{kind}" for kind in ("csv", "parquet", "npy")]


def test_series_of_every_kind_are_the_same(tmp_path: Path) -> None:
    for path in series_files(tmp_path):
        assert np.allclose(read_series(path, length=5, channels=("a", "b")), VALUES, rtol=0, atol=1e-15)


def test_series_of_another_length(tmp_path: Path) -> None:
    for path in series_files(tmp_path):
        with pytest.raises(BadSample, match="has more than 4 steps, expected 4 steps of 2 channels"):
            read_series(path, length=4, channels=("a", "b"))
        with pytest.raises(BadSample, match="has 5 steps, expected 6"):
            read_series(path, length=6, channels=("a", "b"))


def test_an_array_of_one_axis_is_one_channel(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.arange(4))
    assert read_series(tmp_path / "s.npy", length=4, channels=("a",)).tolist() == [[0], [1], [2], [3]]
    with pytest.raises(BadSample, match=r"has shape \(4,\), expected \(4, 2\)"):
        read_series(tmp_path / "s.npy", length=4, channels=("a", "b"))


class Planted:
    """Unpickling this would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


def test_a_pickle_in_an_array_is_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.array([Planted(tmp_path / "ran")], dtype=object), allow_pickle=True)
    with pytest.raises(BadSample, match=r"'s\.npy' is not a readable array"):
        read_series(tmp_path / "s.npy", length=1, channels=("a",))
    import pickle

    (tmp_path / "p.npy").write_bytes(pickle.dumps(Planted(tmp_path / "ran")))
    with pytest.raises(BadSample, match=r"'p\.npy' is not a readable array"):
        read_series(tmp_path / "p.npy", length=1, channels=("a",))
    assert not (tmp_path / "ran").exists()


def test_an_array_that_promises_more_than_it_holds_is_not_allocated(tmp_path: Path) -> None:
    with (tmp_path / "s.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 2)})
        file.write(bytes(64))
    with pytest.raises(BadSample, match=r"'s\.npy' is not a readable array"):
        read_series(tmp_path / "s.npy", length=5, channels=("a", "b"))


@pytest.mark.parametrize(
    ("name", "held", "reason"),
    [
        ("s.csv", b"", "has no column 'a'"),
        ("s.csv", b"A,b\n1,2\n", "has no column 'a'. Did you mean 'A'"),
        ("s.csv", b"a,b\n1,x\n", "line 2: 'b' is 'x', not a number"),
        ("s.csv", b"a,b\n1,2\n3,\n", "line 3: 'b' is '', not a number"),
        ("s.csv", b"a,b\n1_0,2\n", "line 2: 'a' is '1_0', not a number"),
        ("s.csv", b"a,b\n1\n", "line 2 has 1 values, expected 2"),
        ("s.csv", b"a,b\n\xff,2\n", "is not readable CSV"),
        ("s.csv", b'a,b\n"1,2\n', "is not readable CSV"),
        ("s.npy", b"", "is not a readable array"),
        ("s.npy", b"\x93NUMPY\x01\x00", "is not a readable array"),
        ("s.parquet", b"PAR1", "is not readable Parquet"),
        ("s.parquet", b"words", "is not readable Parquet"),
        ("s.txt", b"1 2", "is not a series file"),
        ("s", b"1 2", "is not a series file"),
    ],
)
def test_bad_series_say_so(tmp_path: Path, name: str, held: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(held)
    with pytest.raises(BadSample) as caught:
        read_series(tmp_path / name, length=1, channels=("a", "b"))
    assert reason in str(caught.value)
    assert repr(name) in str(caught.value)


def test_series_without_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.array([["a", "b"]]))
    with pytest.raises(BadSample, match="holds <U1, expected numbers"):
        read_series(tmp_path / "s.npy", length=1, channels=("a", "b"))
    pl.DataFrame({"a": [1.0, None], "b": [1, 2], "c": ["x", "y"]}).write_parquet(tmp_path / "s.parquet")
    with pytest.raises(BadSample, match="has steps without a value"):
        read_series(tmp_path / "s.parquet", length=2, channels=("a", "b"))
    with pytest.raises(BadSample, match="column 'c' holds String, expected numbers"):
        read_series(tmp_path / "s.parquet", length=2, channels=("b", "c"))


def test_a_series_file_name_is_no_pattern(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1.0]})
    frame.write_parquet(tmp_path / "one.parquet")
    with pytest.raises(BadSample, match="is not readable Parquet"):
        read_series(tmp_path / "*.parquet", length=1, channels=("a",))


# Texts


def test_texts(tmp_path: Path) -> None:
    held = "=HYPERLINK('x') <b>Zoë</b> \x1b[31m\n"
    (tmp_path / "t.txt").write_bytes(b"\xef\xbb\xbf" + held.encode())
    assert read_text(tmp_path / "t.txt") == held
    (tmp_path / "latin.txt").write_bytes("Zoë".encode("latin-1"))
    with pytest.raises(BadSample, match=r"'latin.txt' is not UTF-8 text"):
        read_text(tmp_path / "latin.txt")
    (tmp_path / "long.txt").write_bytes(b"x" * (media.MAX_TEXT + 1))
    with pytest.raises(BadSample, match="is longer than 1048576 bytes"):
        read_text(tmp_path / "long.txt")
