"""A hardened model on disk: the model it was made from, what was done to it, and the weights that came of it.

    model/hardened.json          base reference, mitigations with settings and facts, fingerprints, versions
    model/step-0.safetensors     what the first mitigation needs to be done again without training; and so on

The folder is itself a model reference: `muroan audit model/ DATA`. The base is opened by its own reference and must be
the very model that was hardened; a base that was a Python object has to be given.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from muroan import registry
from muroan.errors import AskedWrongly, CannotComplete
from muroan.mitigation import Mitigated, Mitigation
from muroan.model import Model
from muroan.version import __version__

FILE = "hardened.json"
OBJECT = "object:"
"""Beginning of the reference of a model that was given as a Python object."""


@dataclass
class Folder:
    """A hardened model's folder, written step by step."""

    path: Path
    base: str
    base_fingerprint: str
    asked: Mapping[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)

    def add(self, mitigation: Mitigation, done: Mitigated) -> None:
        """Write what one mitigation made; it counts once the folder's JSON names it."""
        from safetensors.torch import save_file

        self.path.mkdir(parents=True, exist_ok=True)
        step: dict[str, Any] = {"name": mitigation.name, "settings": mitigation.settings(), "facts": dict(done.facts)}
        step |= {"notes": list(done.notes), "fingerprint": done.model.fingerprint(), "weights": None}
        if done.tensors:
            step["weights"] = f"step-{len(self.steps)}.safetensors"
            own = {n: t.detach().cpu().clone().contiguous() for n, t in done.tensors.items()}
            aside = self.path / f".{step['weights']}"
            save_file(own, aside)
            aside.replace(self.path / step["weights"])
        self.steps.append(json.loads(json.dumps(step)))
        self._write()

    def _write(self) -> None:
        content: dict[str, Any] = {"muroan": __version__, "base": self.base, "base fingerprint": self.base_fingerprint}
        content |= {"asked": dict(self.asked), "steps": self.steps}
        aside = self.path / f".{FILE}"
        aside.write_text(json.dumps(content, indent=1), encoding="utf-8")
        aside.replace(self.path / FILE)

    @staticmethod
    def read(path: Path) -> Folder:
        """The folder as it is; raises `AskedWrongly` if it is none."""
        try:
            found = json.loads((path / FILE).read_text(encoding="utf-8"))
            steps = [{**s, "settings": dict(s["settings"]), "facts": dict(s["facts"])} for s in found["steps"]]
            return Folder(path, found["base"], found["base fingerprint"], found.get("asked", {}), steps)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AskedWrongly(f"{path} holds no hardened model: {error}") from error

    def restore(self, base: Model) -> Model:
        """The hardened model, from a base that is the caller's to give away."""
        if base.fingerprint() != self.base_fingerprint:
            raise AskedWrongly(
                f"{self.path} was made from another model than {self.base} is now (its weights have changed, or what "
                "it is compared with); harden it again, or give the model of then as base"
            )
        model = base
        for k, step in enumerate(self.steps):
            mitigation = registry.mitigation(step["name"]).configured(step["settings"])
            model = mitigation.restore(model, self._tensors(step), step["facts"])
            if model.fingerprint() != step["fingerprint"]:
                raise CannotComplete(
                    f"{self.path}: step {k} ({step['name']}) does not give the model that was saved; was the folder "
                    "changed, or does another version of Muroan read it?"
                )
        return model

    def _tensors(self, step: Mapping[str, Any]) -> dict[str, Tensor]:
        from safetensors.torch import load_file

        if step["weights"] is None:
            return {}
        place = self.path / Path(step["weights"]).name  # a name in a file is no permission to read elsewhere
        if not place.is_file():
            raise AskedWrongly(f"{place} is missing; the folder is not whole")
        found: dict[str, Tensor] = load_file(place)
        return found


def is_folder(ref: str) -> bool:
    """Whether a reference is the folder of a hardened model."""
    return (Path(ref) / FILE).is_file()


def open_folder(ref: str, open_base: Callable[[str], Model]) -> Model:
    """The hardened model in a folder, its base opened by its reference."""
    folder = Folder.read(Path(ref))
    if folder.base.startswith(OBJECT):
        raise AskedWrongly(
            f"{ref} was made from a Python object ({folder.base.removeprefix(OBJECT)}); restore it from Python, with "
            "muroan.hardened.Folder.read(path).restore(base)"
        )
    return folder.restore(open_base(folder.base))


def same_request(folder: Folder, mitigations: Sequence[Mitigation], asked: Mapping[str, Any]) -> bool:
    """Whether what the folder holds is the beginning of what is asked now."""
    mine = [{"name": m.name, "settings": json.loads(json.dumps(m.settings()))} for m in mitigations]
    theirs = [{"name": s["name"], "settings": s["settings"]} for s in folder.steps]
    return dict(folder.asked) == dict(asked) and theirs == mine[: len(theirs)]
