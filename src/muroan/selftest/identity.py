"""Which code a trial came from: what has changed since is tried again, what has not is kept."""

from __future__ import annotations

import hashlib
import inspect
import sys
from functools import cache
from pathlib import Path
from typing import Any

import muroan
from muroan import registry
from muroan.organism import Bed, Organism
from muroan.selftest.definitions import reached

CORE = ("*.py", "estimate/*.py", "auditing/observe.py", "auditing/gate.py", "selftest/trial.py")
TRAINING = ("mitigation.py", "training.py")
NOT_CORE = ("api.py", "references.py", "registry.py", "hardened.py", "hardening.py", "__init__.py", *TRAINING)
"""What no probe's answer depends on; that of a mended world does on `TRAINING`."""


@cache
def code_of(probe: type, world: Organism | Bed, mitigation: type | None = None) -> str:
    """A digest of the source of a probe (its whole package, and those whose evidence it joins), of what a world is made
    of, of a mitigation (its folder), and of the core below them all."""
    root = Path(muroan.__file__).parent
    files = {f for pattern in CORE for f in root.glob(pattern) if f.name not in NOT_CORE}
    for part in (probe, *[registry.probe(n) for n in getattr(probe, "joins", ())]):
        files |= set(_source(part).parent.rglob("*.py"))
    if mitigation is not None:
        files |= {*_source(mitigation).parent.glob("*.py"), *(root / name for name in TRAINING)}
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(files):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    for at, definition in sorted(made_of(world).items()):
        digest.update(f"{at}\0{definition}".encode())
    return digest.hexdigest()


def made_of(world: Organism | Bed) -> dict[tuple[str, str], str]:
    """The definitions that a world comes from: its fault, its bed, and all that they use of what is made for worlds.
    Faults that stand side by side are no part of each other."""
    planted: Any = world if isinstance(world, Organism) else _planted_in(world)
    fault = inspect.unwrap(planted)
    module: str = fault.__module__
    beds = [name for name, value in vars(sys.modules[module]).items() if value is world]
    own = [] if module.startswith("muroan.") else [module.partition(".")[0]]
    return reached(module, beds or [fault.__qualname__], within=("muroan.organisms", *own))


def _planted_in(bed: Bed) -> Any:
    return next(o for o in registry.methods("organisms").values() if o.bed is bed)


def _source(part: Any) -> Path:
    return Path(inspect.getsourcefile(inspect.unwrap(part)) or "")
