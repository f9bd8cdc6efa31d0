"""Which code a trial came from: what has changed since is tried again, what has not is kept."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import muroan
from muroan import registry
from muroan.organism import Bed, Organism

CORE = ("*.py", "estimate/*.py", "auditing/observe.py", "auditing/gate.py", "selftest/trial.py")
TRAINING = ("mitigation.py", "training.py")
NOT_CORE = ("api.py", "references.py", "registry.py", "hardened.py", "hardening.py", "__init__.py", *TRAINING)
"""What no probe's answer depends on; that of a mended world does on `TRAINING`."""


@cache
def code_of(probe: type, world: type[Organism] | Bed, mitigation: type | None = None) -> str:
    """A digest of the source of a probe (its whole package, and those whose evidence it joins), of a world, of a
    mitigation (its folder), and of the core below them all."""
    root = Path(muroan.__file__).parent
    files = {f for pattern in CORE for f in root.glob(pattern) if f.name not in NOT_CORE}
    for part in (probe, *[registry.probe(n) for n in getattr(probe, "joins", ())]):
        files |= set(_source(part).parent.rglob("*.py"))
    if isinstance(world, Bed):
        files.add(_source(world.world))
    else:
        files |= {_source(world), _source(world.bed.world)}
    if mitigation is not None:
        files |= {*_source(mitigation).parent.glob("*.py"), *(root / name for name in TRAINING)}
    return _digest(files)


def _source(part: Any) -> Path:
    return Path(inspect.getsourcefile(inspect.unwrap(part)) or "")


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(files):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
