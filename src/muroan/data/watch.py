"""Wearables: shoulder exercises as a smartwatch felt them (Burns et al., arXiv 1802.01489), ten people.

140 recordings at 50 Hz, two of each of seven physiotherapy exercises from each of ten subjects (one with each arm), as
two inputs of three channels: acceleration and rotation, here standardised by the members' mean and standard deviation.
A sample is two seconds: 2,369 windows of 100 steps, one after another, of which those of one recording are a cluster.
Whose arm it was (`side`) is a group too; it is no protected attribute. The file ships in the package `seglearn` 1.2.5
(BSD), which is found but never imported.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from muroan.data.memory import InMemory
from muroan.dataset import Splits
from muroan.errors import AskedWrongly, CannotComplete, unknown
from muroan.modality import Series
from muroan.randomness import choose

SENSORS = {"accelerometer": ("ax", "ay", "az"), "gyroscope": ("wx", "wy", "wz")}
EXERCISES = (
    "pendulum",
    "abduction",
    "forward elevation",
    "internal rotation",
    "external rotation",
    "trapezius extension",
    "upright row",
)
"""What the data call PEN, ABD, FEL, IR, ER, TRAP and ROW, by the exercises' names in the paper."""
SUBJECTS = tuple(f"{k:02d}" for k in range(1, 11))
SIDES = ("left", "right")
STEPS = 100
"""Length of a window: two seconds."""
WINDOWS = 2_369
HELD_OUT = ("08", "09", "10")
"""Whose data the shipped model has never seen: the last three, not chosen by how it does on them."""
BYTES = 18_118_091
SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
MISSING = (
    "the wearables' data are missing: pip install --no-deps seglearn==1.2.5 (--no-deps, because only its data file "
    "is read, and what its code depends on is neither needed nor wanted)"
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Recording:
    """One subject, one exercise, one arm; values [steps, 6] as published: ax, ay, az, wx, wy, wz."""

    name: str
    subject: str
    exercise: int
    side: str
    values: Floats

    @property
    def windows(self) -> Floats:
        """[windows, STEPS, 6]; what is left over at the end is not used."""
        count = len(self.values) // STEPS
        return self.values[: count * STEPS].reshape(count, STEPS, -1)


def file() -> Path:
    """Where the package's data file is; `AskedWrongly` with the command that installs it."""
    spec = find_spec("seglearn")
    if spec is None or not spec.submodule_search_locations:
        raise AskedWrongly(MISSING)
    return Path(next(iter(spec.submodule_search_locations))) / "data" / "watch_dataset.npy"


@cache
def recordings() -> tuple[Recording, ...]:
    """All 140, in the order of the file."""
    return read(file())


def read(path: Path) -> tuple[Recording, ...]:
    """The recordings of the published file.

    It holds a pickle, which could run anything: only bytes whose digest is that of the published file are opened.
    """
    if not path.is_file():
        raise AskedWrongly(f"{path.name} is not there; {MISSING}")
    if path.stat().st_size != BYTES:
        raise CannotComplete(f"{path} has {path.stat().st_size:,} bytes, not {BYTES:,}: not the file of seglearn 1.2.5")
    raw = path.read_bytes()
    if hashlib.sha256(raw).hexdigest() != SHA256:
        raise CannotComplete(f"{path} is not the file of seglearn 1.2.5, and a pickle is opened only if it is known")
    found = np.load(io.BytesIO(raw), allow_pickle=True).item()
    out = tuple(
        Recording(
            name=f"recording-{k:03d}",
            subject=f"{found['subject'][k]:02d}",
            exercise=int(found["y"][k]),
            side=SIDES[int(found["side"][k])],
            values=np.asarray(values, dtype=np.float64),
        )
        for k, values in enumerate(found["X"])
    )
    kinds = {(r.subject, r.exercise, r.side) for r in out}
    if len(out) != 140 or len(kinds) != 140 or sum(len(r.windows) for r in out) != WINDOWS:
        raise CannotComplete(f"{path} does not hold one recording of each subject, exercise and arm")
    return out


def _kept_from_training() -> set[str]:
    """A third of each subject's recordings: of two exercises in three one arm, the same whoever is held out."""
    pairs: dict[tuple[str, int], list[str]] = {}
    for r in recordings():
        pairs.setdefault((r.subject, r.exercise), []).append(r.name)
    asked = [pair for (subject, k), pair in pairs.items() if (SUBJECTS.index(subject) + k) % 3]
    return {pair[i] for pair in asked for i in choose(pair, 1, "watch reference")}


def _known(subjects: Collection[str | int]) -> set[str]:
    names = {f"{s:02d}" if isinstance(s, int) else s for s in subjects}
    for name in sorted(names - set(SUBJECTS)):
        raise unknown("subject", name, SUBJECTS)
    return names


def _held_out(subjects: Collection[str | int], otherwise: str = "") -> set[str]:
    """Subjects by name; refuses nobody, and all."""
    away = _known(subjects)
    if not 0 < len(away) < len(SUBJECTS):
        raise AskedWrongly(f"{len(away)} of {len(SUBJECTS)} subjects are held out; hold out one to nine{otherwise}")
    return away


def _splits(
    audited: Sequence[Recording], reference: Sequence[Recording], members: Sequence[Recording], name: str
) -> Splits:
    seen = np.concatenate([r.windows.reshape(-1, 6) for r in members])
    centre, spread = seen.mean(axis=0), seen.std(axis=0)

    def part(chosen: Sequence[Recording], name: str) -> InMemory:
        values = ((np.concatenate([r.windows for r in chosen]) - centre) / spread).astype(np.float32)
        each = [(r, w) for r in chosen for w in range(len(r.windows))]
        data = InMemory(
            {"accelerometer": values[..., :3], "gyroscope": values[..., 3:]},
            targets=[r.exercise for r, _ in each],
            modalities={s: Series(length=STEPS, channels=c, fill=(0.0,) * len(c)) for s, c in SENSORS.items()},
            classes=EXERCISES,
            groups={"subject": [r.subject for r, _ in each], "side": [r.side for r, _ in each]},
            clusters=[r.name for r, _ in each],
            ids=[f"{r.name}-{w:02d}" for r, w in each],
            name=name,
        )
        # Every part has the same schema, whoever is in it.
        data.schema = replace(data.schema, groups={"subject": SUBJECTS, "side": SIDES}, cluster="recording")
        return data

    return Splits(part(audited, name), part(reference, f"{name} (reference)"), part(members, f"{name} (members)"))


def watch(held_out: Sequence[str | int] = HELD_OUT) -> Splits:
    """Audited: all recordings of the subjects `held_out`; of the others a third of the recordings is the reference, and
    the rest, meant for training, the members.

    A subject is "08" or 8. Between one and nine are held out.
    """
    away = _held_out(held_out, ", or ask for watch-same-subjects, where nobody is")
    kept, rest = _kept_from_training(), [r for r in recordings() if r.subject not in away]
    return _splits(
        [r for r in recordings() if r.subject in away],
        [r for r in rest if r.name in kept],
        [r for r in rest if r.name not in kept],
        "watch",
    )


def watch_same_subjects(without: Sequence[str | int] = HELD_OUT) -> Splits:
    """The subjects that `watch(without)` trains on: the same members; of its reference half is audited.

    What a model loses from here to `watch` is what it costs that somebody else wears the watch. Nobody: ().
    """
    away = _known(without)
    if len(away) == len(SUBJECTS):
        raise AskedWrongly("all subjects are left out; leave one in at least")
    kept, rest = _kept_from_training(), [r for r in recordings() if r.subject not in away]
    here = sorted({r.subject for r in rest})
    # Every other subject of an exercise, every other exercise of a subject: both halves have their share of each.
    audited = {r.name for r in rest if r.name in kept and (here.index(r.subject) + r.exercise) % 2}
    return _splits(
        [r for r in rest if r.name in audited],
        [r for r in rest if r.name in kept - audited],
        [r for r in rest if r.name not in kept],
        "watch-same-subjects",
    )


def watch_other_arm(held_out: Sequence[str | int] = HELD_OUT) -> Splits:
    """Audited: the left arms of the subjects `held_out`; reference: their right arms; members: the others' right arms.

    The same people do the same exercises; nothing but the arm that wears the watch is new.
    """
    away = _held_out(held_out)
    theirs = [r for r in recordings() if r.subject in away]
    return _splits(
        [r for r in theirs if r.side == "left"],
        [r for r in theirs if r.side == "right"],
        [r for r in recordings() if r.subject not in away and r.side == "right"],
        "watch-other-arm",
    )
