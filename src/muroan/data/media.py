"""Pictures, sounds and texts, read from files or from bytes that a table holds itself.

What cannot be read raises `BadSample` with the reason; nothing that a file holds is executed: Pillow is kept to
formats that it decodes by itself. Known trade-off: pictures are taken as they are stored; an EXIF rotation is not
applied, as most training pipelines do not apply it.
"""

from __future__ import annotations

import io
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from muroan.errors import AskedWrongly, BadSample, shown

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MAX_TEXT = 1 << 20
"""Bytes of a text file."""
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
"""Raster formats that Pillow decodes by itself. PostScript is not among them: Pillow starts a program for it."""
RECENT = 32
"""Decoded pictures kept, since neighbouring rows of a table often share one."""

Source = Path | bytes
"""A file that `Root.file` found, or a file's content."""


def _called(source: Source) -> str:
    return shown(source.name) if isinstance(source, Path) else f"content of {len(source)} bytes"


def read_picture(source: Source, *, size: tuple[int, int], mode: str, resize: bool = False) -> Picture:
    """A picture of `size` (height, width).

    resize: scale other sizes (bilinear with antialiasing, the ratio of the sides is not kept) and convert to
    `mode` first; otherwise another size is a `BadSample`, found before anything is decoded. Modes that lose
    something (16 bits, CMYK) are left for the modality to refuse.
    """
    if isinstance(source, bytes):
        return _decode(source, size, mode, resize)
    about = source.stat()
    return _recent(source, about.st_mtime_ns, about.st_size, size, mode, resize)


@lru_cache(maxsize=RECENT)
def _recent(path: Path, changed: int, length: int, size: tuple[int, int], mode: str, resize: bool) -> Picture:
    return _decode(path, size, mode, resize)


def _decode(source: Source, size: tuple[int, int], mode: str, resize: bool) -> Picture:
    from PIL import Image, UnidentifiedImageError

    height, width = size
    Image.init()
    built = [f for f in FORMATS if f in Image.OPEN]  # Pillow may be built without some
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=built) as picture:
            if picture.width * picture.height > (Image.MAX_IMAGE_PIXELS or float("inf")):
                raise Image.DecompressionBombError
            if picture.size != (width, height) and not resize:
                raise BadSample(
                    f"{_called(source)} is {picture.height}×{picture.width} pixels (height × width), "
                    f"expected {height}×{width}; `resize: true` would scale it"
                )
            # MPO is what phones write as JPEG: further frames are views of the same scene.
            if getattr(picture, "is_animated", False) and picture.format != "MPO":
                raise BadSample(f"{_called(source)} has several frames; give the one to be looked at")
            picture.load()
            if picture.mode == "P" and "transparency" in picture.info:
                return _scaled(picture.convert("RGBA"), size, mode)
            return _scaled(picture, size, mode)
    except BadSample:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadSample(f"{_called(source)} would unpack to more than {Image.MAX_IMAGE_PIXELS} pixels") from error
    except UnidentifiedImageError as error:
        raise BadSample(f"{_called(source)} is not a picture (known: {', '.join(built)})") from error
    except Exception as error:  # a broken file makes Pillow's decoders raise almost anything
        raise BadSample(f"{_called(source)} is not a readable picture: {shown(str(error), 200)}") from error


def _scaled(picture: Picture, size: tuple[int, int], mode: str) -> Picture:
    from PIL import Image

    height, width = size
    if picture.size == (width, height) or picture.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        return picture.copy()
    return picture.convert(mode).resize((width, height), Image.Resampling.BILINEAR)


def read_sound(source: Source, *, rate: int, length: int, fit: bool = False) -> NDArray[np.float32]:
    """One channel of sound, float [T] in [-1, 1], at `rate` samples a second.

    fit: cut what is longer than `length` and pad what is shorter with silence at its end; otherwise another
    length is a `BadSample`. Another rate or several channels always are: how to resample or mix is for the
    user to say. WAV is read by SciPy, everything else by soundfile (`AskedWrongly` if that is not installed).
    """
    try:
        found_rate, values, frames = _wav(source, length) if _is_wav(source) else _other_sound(source, length)
    except (BadSample, AskedWrongly):
        raise
    except Exception as error:  # both readers raise whatever their parsing stumbles over
        raise BadSample(f"{_called(source)} is not a readable sound: {shown(str(error), 200)}") from error
    if values.ndim != 1:
        raise BadSample(f"{_called(source)} has {values.shape[1]} channels, expected 1; mix it down first")
    if found_rate != rate:
        raise BadSample(f"{_called(source)} has {found_rate} samples a second, expected {rate}; resample it first")
    if frames == 0:
        raise BadSample(f"{_called(source)} has no samples")
    if frames != length and not fit:
        raise BadSample(f"{_called(source)} has {frames} samples, expected {length}; `fit: true` would cut or pad it")
    return np.pad(values, (0, length - len(values)))


def _is_wav(source: Source) -> bool:
    if isinstance(source, bytes):
        head = source[:12]
    else:
        with source.open("rb") as file:
            head = file.read(12)
    return head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:] == b"WAVE"


def _wav(source: Source, length: int) -> tuple[int, NDArray[np.float32], int]:
    import warnings

    from scipy.io import wavfile

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        rate, raw = wavfile.read(io.BytesIO(source) if isinstance(source, bytes) else source)
    if any("EOF" in str(w.message) for w in said):
        raise BadSample(f"{_called(source)} is cut off")
    frames = len(raw)
    part = raw[:length]
    if part.dtype == np.uint8:
        return rate, (part.astype(np.float32) - 128) / 128, frames
    if part.dtype.kind == "i":
        return rate, (part / -float(np.iinfo(part.dtype).min)).astype(np.float32), frames
    return rate, part.astype(np.float32), frames


def _other_sound(source: Source, length: int) -> tuple[int, NDArray[np.float32], int]:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: the package is there, its C library is not
        raise AskedWrongly(
            f"{_called(source)} is no WAV file, and other sounds need soundfile: pip install 'muroan[media]'"
        ) from error
    with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else os.fspath(source)) as sound:
        values: NDArray[np.float32] = sound.read(frames=length, dtype="float32")
        return int(sound.samplerate), values, int(sound.frames)


def read_text(path: Path) -> str:
    """A text file in UTF-8, as it is."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_TEXT + 1)
    except OSError as error:
        raise BadSample(f"{shown(path.name)} cannot be read: {error.strerror}") from error
    if len(raw) > MAX_TEXT:
        raise BadSample(f"{shown(path.name)} is longer than {MAX_TEXT} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadSample(f"{shown(path.name)} is not UTF-8 text") from error


def content(cell: Any) -> bytes | None:
    """The bytes of a file that a Parquet cell holds itself: plain, or {bytes, path} as many data sets have it."""
    if isinstance(cell, dict):
        cell = cell.get("bytes")
    return cell if isinstance(cell, bytes) else None
