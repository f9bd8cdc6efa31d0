"""What MODEL and DATA mean on a command line: from a short reference to an open model or open data.

    easy-vqa                        what ships with Muroan
    multiple-features               digits in six views, and a model of them; the files of the data ship in a package
    hf:owner/name  hf:./folder      a model of transformers (muroan.models.hf) from a hub or a folder; the data choose
                                    its task. hf:...?prompt=an X-ray of {}. sets what stands around class names
    path/to/model                   a folder that `muroan harden` wrote
    torch:package.module:factory    a function of your own that returns a `muroan.Model`
    python:package.module:factory   the same for data: it returns a `Dataset` or `Splits`
    vqa-rephrasings:FOLDER?...      a published benchmark, from the user's own copy of it (muroan.data.benchmarks)
    cases.csv  cases.parquet  ...   a table, with the meaning of its columns in cases.yaml or given along

A reference is permission to read, and for `torch:` and `python:` to run, what it names: it comes from the user,
never from data. Modules are looked for where Python looks for them, and last in the current directory, so that a
file there cannot stand in for an installed package that something else imports. Other distributions add names
through entry points in the groups `muroan.models` and `muroan.datasets`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from muroan import hardened
from muroan.data.benchmarks import BENCHMARKS
from muroan.data.table import SpecLike, open_table
from muroan.data.tablefile import SUFFIXES
from muroan.dataset import Dataset, Splits
from muroan.errors import AskedWrongly, nearest, shown
from muroan.model import Model

MODELS: dict[str, str] = {
    "easy-vqa": "muroan.models.easy_vqa:easy_vqa_model",
    "emoji": "muroan.models.emoji_towers:emoji_model",
    "emoji-groups": "muroan.models.emoji_towers:emoji_groups_model",
    "multiple-features": "muroan.models.digit_views:digit_views_model",
    "watch": "muroan.models.watch:watch_model",
    "watch-right-arm": "muroan.models.watch:watch_right_arm_model",
}
"""Models by name -> "module:factory"."""
DATASETS: dict[str, str] = {
    "easy-vqa": "muroan.data.easy_vqa:easy_vqa",
    "emoji": "muroan.data.emoji:emoji",
    "emoji-groups": "muroan.data.emoji:emoji_groups",
    "emoji-groups-twitter": "muroan.data.emoji:emoji_groups_twitter",
    "emoji-twitter": "muroan.data.emoji:emoji_twitter",
    "multiple-features": "muroan.data.multiple_features:multiple_features",
    "watch": "muroan.data.watch:watch",
    "watch-other-arm": "muroan.data.watch:watch_other_arm",
    "watch-same-subjects": "muroan.data.watch:watch_same_subjects",
}
"""Data by name -> "module:factory"."""

CODE = ("torch", "python")
"""Schemes that name a function to call."""
HUB = "hf"
"""The scheme of transformers' models."""
LATER = ("onnx", "sklearn", "chat")
"""Schemes that are meant to come and that nobody should have to guess about; for data, `HUB` is one as well."""


def known(kind: str) -> dict[str, str]:
    """All names of a kind ("models", "datasets") -> "module:factory"; nobody's plugin takes a built-in's name."""
    plugins = {e.name: e.value for e in importlib.metadata.entry_points(group=f"muroan.{kind}")}
    return plugins | {"models": MODELS, "datasets": DATASETS}[kind]


def open_model(ref: str, data: Splits | None = None) -> Model:
    """The model that `ref` names; `AskedWrongly` if it names none, or what it names is not one.

    data: what it will be asked about; a model without a task of its own takes it from them.
    """
    names = known("models")
    works = f"A model is {', '.join(sorted(names))}, torch:package.module:factory or hf:owner/name."
    scheme, _, rest = ref.partition(":")
    if ref in names:
        found = _made(names[ref], ref, Model)
    elif scheme in CODE:
        found = _made(rest, ref, Model)
    elif hardened.is_folder(ref):
        found = hardened.open_folder(ref, lambda base: open_model(base, data))
    elif scheme == HUB:
        from muroan.models.hf import from_reference

        found = from_reference(rest, data)
    else:
        raise _not_known("model", ref, works, [*names, *(f"{s}:" for s in (*CODE, HUB))])
    if not isinstance(found, Model):
        raise AskedWrongly(
            f"{ref} returned {_described(found)}, expected a muroan.Model. Wrap it in muroan.TorchModel("
            "encoders=..., fusion=..., head=..., classes=...) where the model can be taken apart, or in "
            "muroan.BlackBox(predict, modalities=..., classes=...) around any function from inputs to scores"
        )
    lacking = [a for a in ("modalities", "classes") if not getattr(found, a, None)]
    if lacking:
        raise AskedWrongly(f"{ref} returned a model without {' and '.join(lacking)}; set them as its class says")
    return found


def open_data(ref: str, *, columns: SpecLike | None = None) -> Splits:
    """The data that `ref` names; `AskedWrongly` if it names none, or they cannot be used.

    columns: what the columns of a table mean, if not in a YAML file beside it; for tables only.
    """
    names, tables = known("datasets"), ", ".join(SUFFIXES)
    works = (
        f"Data are {', '.join(sorted(names))}, a table ({tables}), python:package.module:factory, or a benchmark as "
        "NAME:FOLDER (`muroan list benchmarks`)."
    )
    scheme, _, rest = ref.partition(":")
    is_table = Path(ref).suffix.lower() in SUFFIXES and scheme not in (*CODE, HUB, *LATER, *BENCHMARKS)
    if columns is not None and not is_table:
        raise AskedWrongly(f"columns are given for {ref}, which is not a table ({tables})")
    if ref in names:
        found = _made(names[ref], ref, Splits, Dataset)
    elif scheme in CODE:
        found = _made(rest, ref, Splits, Dataset)
    elif scheme in BENCHMARKS:
        found = BENCHMARKS[scheme].open(rest)
    elif is_table:
        found = open_table(ref, columns)
    elif os.path.exists(ref):
        what = "a folder" if os.path.isdir(ref) else f"a file with the ending {Path(ref).suffix!r}"
        raise AskedWrongly(f"{ref} is {what}, which is not read as data. {works}")
    else:
        raise _not_known("data", ref, works, [*names, *(f"{s}:" for s in (*CODE, *BENCHMARKS))])
    if isinstance(found, Dataset):
        found = Splits(found)
    if not isinstance(found, Splits):
        raise AskedWrongly(
            f"{ref} returned {_described(found)}, expected a muroan.Dataset, or muroan.Splits(audited, reference, "
            "members)"
        )
    found.check()
    return found


def open_function(ref: str) -> Callable[..., Any]:
    """The function that python:package.module:name names; for what a method lets a user plug in."""
    scheme, _, rest = ref.partition(":")
    if scheme != "python":
        raise AskedWrongly(f"{shown(ref)} names no function; give python:package.module:name")
    found = _named(rest, ref)
    if not callable(found):
        raise AskedWrongly(f"{ref} is {_described(found)}; name a function")
    return found  # type: ignore[no-any-return]


def _described(thing: object) -> str:
    if thing is None:
        return "nothing"
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"an object of {type(thing).__qualname__}"


def _not_known(what: str, ref: str, works: str, known: list[str]) -> AskedWrongly:
    scheme, colon, _ = ref.partition(":")
    if colon and scheme in (HUB, *LATER):  # of models, a hub's are open by now
        return AskedWrongly(f"references of the kind {scheme}: do not work yet ({shown(ref)}). {works}")
    name = f"{scheme}:" if colon else ref
    close = nearest(name, known)
    return AskedWrongly(f"unknown {what} {shown(ref)}. {close + ' ' if close.startswith('Did') else ''}{works}")


def _made(target: str, ref: str, *wanted: type) -> Any:
    """What "package.module:factory" gives: the factory's result, or the thing itself if it already is one."""
    found = _named(target, ref)
    if isinstance(found, wanted):
        return found
    attribute = target.partition(":")[2]
    if not callable(found):
        raise AskedWrongly(f"{ref}: {attribute} is {_described(found)}; name a function without arguments")
    return _tried(found, f"{ref}: {attribute}() failed")


def _named(target: str, ref: str) -> Any:
    """What is called "package.module:attribute"."""
    module_name, _, attribute = target.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")) or not attribute.isidentifier():
        raise AskedWrongly(f"{ref!r} is not of the form scheme:package.module:factory")
    module = _imported(module_name, ref)
    if not hasattr(module, attribute):
        public = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise AskedWrongly(f"{ref}: module {module_name} has no {attribute!r}. {nearest(attribute, public)}")
    return getattr(module, attribute)


def _imported(name: str, ref: str) -> Any:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # for good: the module may import its neighbours only when it is used
    importlib.invalidate_caches()
    try:
        module = _tried(lambda: importlib.import_module(name), f"{ref}: module {name} could not be imported")
    except AskedWrongly as error:
        missing = error.__cause__.name if isinstance(error.__cause__, ModuleNotFoundError) else None
        if missing is not None and (name == missing or name.startswith(f"{missing}.")):
            raise AskedWrongly(
                f"{ref}: there is no module {missing}, neither installed nor in {here}; is the name right, and "
                "the directory?"
            ) from error.__cause__
        raise
    _refuse_another(name, module, Path(here), ref)
    return module


def _refuse_another(name: str, module: Any, here: Path, ref: str) -> None:
    """`AskedWrongly` if the current directory has a module of this name and another one was imported."""
    local = here.joinpath(*name.split("."))
    meant = [p for p in (local.with_suffix(".py"), local / "__init__.py") if p.is_file()]
    came_from = getattr(module, "__file__", None)
    if meant and came_from is not None and Path(came_from).resolve() not in [p.resolve() for p in meant]:
        raise AskedWrongly(
            f"{ref}: {name} is both {meant[0]} and {came_from}, and Python imports the latter; rename yours"
        )


def _tried(work: Callable[[], Any], failed: str) -> Any:
    """What `work` returns. It is somebody's code: whatever it raises is told, with its cause."""
    try:
        return work()
    except AskedWrongly:
        raise
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise AskedWrongly(f"{failed}: {shown(reason, 300)[1:-1]}") from error
