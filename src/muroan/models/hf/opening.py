"""From a name and data to a model: which network it is, which of the data's modalities it takes, and what is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from muroan.data.pairs import FOUND
from muroan.dataset import Dataset, Splits
from muroan.errors import AskedWrongly, nearest
from muroan.modality import Modality, take
from muroan.model import Model
from muroan.models.hf.folder import Folder
from muroan.models.hf.towers import FAMILIES, towers_of
from muroan.models.hf.vilt import Vilt
from muroan.models.two_encoder import TwoEncoder
from muroan.randomness import sample_keys

PROMPTS = {"image": "a photo of {}.", "audio": "this is a sound of {}."}
"""What stands around a class's name where nothing else is said, by the kind of input."""
GALLERY = 200
"""Distractors of each modality, at most."""

Modalities = Mapping[str, Modality]
Names = Sequence[str] | None
Device = str | torch.device


def from_reference(rest: str, data: Splits | None) -> Model:
    """The model that `hf:` and this text name: NAME, or NAME?prompt=TEMPLATE with {} for the class's name."""
    name, mark, said = rest.partition("?")
    if not mark:
        return open(name, data)
    key, _, prompt = said.partition("=")
    if key != "prompt":
        raise AskedWrongly(f"hf:{rest}: after ? comes prompt=, such as hf:{name}?prompt=a photo of {{}}.")
    return open(name, data, prompts=[prompt])


def open(
    name: str, data: Splits | None = None, *, classes: Names = None, prompts: Names = None, device: Device = "cpu"
) -> Model:
    """The model that a hub's name or a folder holds, for the task that the data ask for.

    data: whose classes and modalities it shall have; their reference is where the distractors of retrieval come from.
    classes: those of zero-shot classification, over the data's. prompts: templates with {} for the class's name, of
    which the mean is taken. Without data, modalities are called by their kind.
    """
    folder = Folder.of(name)
    opened = _OPENED.get(folder.config.model_type)
    if opened is None:
        works = ", ".join(sorted(_OPENED))
        raise AskedWrongly(
            f"hf:{name} is of the type {folder.config.model_type!r}, which does not work yet. These do: {works}. "
            "muroan.TorchModel and muroan.BlackBox wrap any other"
        )
    return opened(folder, data, classes, prompts, device)


def two_encoder(name: str, modalities: Modalities | None = None, *, device: Device = "cpu") -> TwoEncoder:
    """The two encoders alone, for tasks of your own. modalities: the data's, for their names and a sound's rate."""
    folder = Folder.of(name)
    if folder.config.model_type not in FAMILIES:
        raise AskedWrongly(
            f"hf:{name} is of the type {folder.config.model_type!r}; two encoders are {', '.join(sorted(FAMILIES))}"
        )
    return _towers(folder, modalities, device)


def _towers(folder: Folder, modalities: Modalities | None, device: Device) -> TwoEncoder:
    kind = FAMILIES[folder.config.model_type].kind
    own, text, rate = kind, "text", None
    if modalities is not None:
        own, texts = _the_one(folder, modalities, kind), _of_kind(modalities, "text")
        text, rate = texts[0] if len(texts) == 1 else text, getattr(modalities[own], "rate", None)
    tower, words, scale = towers_of(folder, rate)
    shows = words.tokens.shows_words
    return TwoEncoder(
        encoders={own: tower, text: words},
        scale=scale,
        text=text,
        embed=words.embed if shows else None,
        encode_embedded=words.encode_embedded if shows else None,
        name=f"hf:{folder.name}",
        device=device,
    )


def _matching(folder: Folder, data: Splits | None, classes: Names, prompts: Names, device: Device) -> Model:
    """Retrieval on data of pairs, else zero-shot classification."""
    kind = FAMILIES[folder.config.model_type].kind
    schema = data.audited.schema if data is not None else None
    asked = classes if classes is not None else schema.classes if schema is not None else None
    if asked is None:
        raise AskedWrongly(
            f"hf:{folder.name} has no classes of its own: open it with data, whose classes it takes, or with "
            f"muroan.models.hf.open({folder.name!r}, classes=[...])"
        )
    if data is not None and schema is not None and tuple(asked) == FOUND and _of_kind(schema.modalities, "text"):
        if data.reference is None:
            raise AskedWrongly(
                f"hf:{folder.name}: {data.audited.name} are pairs, and finding a partner needs others to tell it "
                "from: name a reference, pairs that are not audited (--reference)"
            )
        if prompts is not None:
            raise AskedWrongly(f"hf:{folder.name}: {data.audited.name} are pairs, which have texts and need no prompt")
        _the_one(folder, schema.modalities, "text")
        towers = _towers(folder, schema.modalities, device)
        return towers.retrieval(gallery(data.reference, towers.modalities))
    towers = _towers(folder, schema.modalities if schema is not None else None, device)
    return towers.zero_shot(asked, tuple(prompts) if prompts is not None else (PROMPTS[kind],))


def _vilt(folder: Folder, data: Splits | None, classes: Names, prompts: Names, device: Device) -> Model:
    if prompts is not None:
        raise AskedWrongly(f"hf:{folder.name} has classes of its own and takes no prompts")
    if data is None:
        count = int(getattr(folder.config, "num_images", -1))
        images = ["image"] if count < 2 else [f"image {k + 1}" for k in range(count)]
        return Vilt(folder, images, "text", classes, device)
    schema = data.audited.schema
    text = _the_one(folder, schema.modalities, "text")
    return Vilt(folder, _of_kind(schema.modalities, "image"), text, classes or schema.classes, device)


_OPENED: dict[str, Callable[..., Model]] = {**dict.fromkeys(FAMILIES, _matching), "vilt": _vilt}
"""By the config's model_type."""


def _of_kind(modalities: Modalities, kind: str) -> list[str]:
    return [m for m, modality in modalities.items() if modality.kind == kind]


def _the_one(folder: Folder, modalities: Modalities, kind: str) -> str:
    """The name of the only modality of a kind."""
    found = _of_kind(modalities, kind)
    if len(found) != 1:
        have = ", ".join(f"{m} ({v.kind})" for m, v in modalities.items())
        raise AskedWrongly(f"hf:{folder.name} takes one input of the kind {kind}; the data have {len(found)}: {have}")
    return found[0]


def gallery(reference: Dataset, modalities: Sequence[str], most: int = GALLERY) -> dict[str, Any]:
    """Distractors: values of at most `most` pairs that are whole, one a cluster, drawn by the names of the samples.

    The draw is the same for the same reference, whatever the order of its samples.
    """
    drawn = sample_keys(reference.ids, "gallery").tolist()
    by, picked = reference.clusters(), dict[str, int]()
    for i in sorted(range(len(drawn)), key=drawn.__getitem__):
        picked.setdefault(by[i], i)
    batch = reference.load(list(picked.values())[:most]).batch
    if batch is None:
        raise AskedWrongly(f"none of the pairs of {reference.name} can be read, so there are no distractors")
    lacking = [m for m in modalities if m not in batch.inputs]
    if lacking:
        raise AskedWrongly(f"{reference.name} has no {lacking[0]!r}. {nearest(lacking[0], batch.inputs)}")
    whole = torch.ones(len(batch), dtype=torch.bool)
    for m in modalities:
        whole &= batch.present.get(m, whole)
    if not bool(whole.any()):
        raise AskedWrongly(f"no pair of {reference.name} has both {' and '.join(modalities)}")
    return {m: take(batch.inputs[m], whole.nonzero().flatten()) for m in modalities}
