"""A published benchmark, read in its published layout from the user's own copy.

Nothing is downloaded and nothing of a benchmark ships. A copy that holds fewer items than its source says, or lacks
files that it names, is refused, because a score on part of a benchmark is not the benchmark's; `partial=true` reads it
all the same, and what lacks its file is quarantined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

from muroan.batch import Schema
from muroan.data.inputs import ImageInput, TextInput
from muroan.data.root import Root
from muroan.dataset import Dataset, Sample, Splits
from muroan.errors import AskedWrongly, BadSample, nearest, shown
from muroan.modality import Modality

SIZE = 224
"""Side in pixels that pictures are scaled to, if nothing else is asked for."""
NAMED = 5
"""Missing files that an error names."""


@dataclass(frozen=True)
class Item:
    """One item as the benchmark has it.

    pictures[m]: names below the folder under which the file may be found, the first that exists being taken. texts[m]:
    a string. groups: what to compare the model across; cluster: what makes items dependent.
    """

    id: str
    target: str
    _: KW_ONLY
    pictures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    cluster: str | None = None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a reference asks of a benchmark: `NAME:FOLDER?split=...&size=...&answers=...&partial=true`."""

    benchmark: Benchmark
    folder: Root
    split: str
    size: int = SIZE
    answers: tuple[str, ...] | None = None
    partial: bool = False
    more: Mapping[str, str] = field(default_factory=dict)

    def there(self, names: Sequence[str]) -> str | None:
        """The first of these names that is a file's in the folder."""
        return next((n for n in names if (self.folder.path / n).is_file()), None)

    def file(self, *names: str) -> Path:
        """The first of these files that is there; `AskedWrongly` says where to get it."""
        name = self.there(names)
        if name is None:
            wanted = self.benchmark.wanted()
            raise AskedWrongly(f"{self.benchmark.name}: {self.folder.path} has no {' or '.join(names)}. {wanted}")
        return self.folder.file(name)


Read = Callable[[Asked], Iterable[Item]]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What is known of a benchmark.

    says: what it asks, in a sentence. source: the paper. home: where its publishers hand it out, and what to take from
    there. licence: of the data, as far as it is stated there. layout: what the folder has to hold. counts: split ->
    items, as `counted` says; None where no source of the number was at hand, so that nothing is checked. read: its
    items. pictures, texts: names of the modalities. classes: the labels in order; None: the answers in the data, most
    frequent first, or those of the user's `answers` file. options: what else a reference may set, with what it means.
    """

    name: str
    says: str
    source: str
    home: str
    licence: str
    layout: str
    counts: Mapping[str, int | None]
    counted: str
    read: Read
    pictures: tuple[str, ...] = ("image",)
    texts: tuple[str, ...] = ("text",)
    classes: tuple[str, ...] | None = None
    cluster: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def split(self) -> str:
        """The split that is taken if none is named."""
        return next(iter(self.counts))

    def open(self, where: str) -> Splits:
        """The benchmark in a user's folder; `AskedWrongly` if the copy is not what its publishers hand out."""
        asked = self._asked(where)
        items = list(self.read(asked))
        if not items:
            raise AskedWrongly(f"{self.name}: {asked.folder.path} has no item of the split {asked.split!r}")
        if not asked.partial:
            self._whole(items, asked)
        return Splits(Items(items, asked))

    def _asked(self, where: str) -> Asked:
        """FOLDER?option=value&... as the user gives it."""
        place, _, said = where.partition("?")
        known = {"split": "", "size": "", "answers": "", "partial": "", **self.options}
        given: dict[str, str] = {}
        for part in filter(None, said.split("&")):
            option, equals, value = part.partition("=")
            if not equals or option not in known:
                raise AskedWrongly(f"{self.name} has no option {shown(option)}. {nearest(option, known)}")
            given[option] = value
        split = given.pop("split", self.split)
        if split not in self.counts:
            raise AskedWrongly(f"{self.name} has no split {shown(split)}. {nearest(split, self.counts)}")
        size, partial, answers = given.pop("size", str(SIZE)), given.pop("partial", "false"), given.pop("answers", None)
        if not size.isdigit() or int(size) < 1:
            raise AskedWrongly(f"{self.name}: size is {shown(size)}; it is a number of pixels")
        if partial not in ("true", "false"):
            raise AskedWrongly(f"{self.name}: partial is {shown(partial)}; it is true or false")
        folder = Path(place).expanduser()
        if not place or not folder.is_dir():
            raise AskedWrongly(f"{self.name}: {shown(place)} is no folder. {self.wanted()}")
        return Asked(
            benchmark=self,
            folder=Root.at(folder),
            split=split,
            size=int(size),
            answers=None if answers is None else _answers(Path(answers).expanduser()),
            partial=partial == "true",
            more=given,
        )

    def wanted(self) -> str:
        """What to get where, and what the folder then holds."""
        return f"Get it from {self.home} (licence: {self.licence}). The folder holds: {self.layout}"

    def _whole(self, items: Sequence[Item], asked: Asked) -> None:
        """Refuses a partial copy."""
        hint = "add partial=true to use it all the same; figures are then of that part alone"
        count = self.counts[asked.split]
        if count is not None and len(items) != count:
            raise AskedWrongly(
                f"{self.name}: {asked.folder.path} has {len(items):,} items of the split {asked.split!r}, its source "
                f"has {count:,} ({self.counted}); {hint}"
            )
        files = dict.fromkeys(names for i in items for names in i.pictures.values())
        gone = [names[0] for names in files if asked.there(names) is None]
        if gone:
            named = ", ".join(gone[:NAMED]) + (", …" if len(gone) > NAMED else "")
            raise AskedWrongly(
                f"{self.name}: {len(gone):,} of {len(files):,} pictures are not in {asked.folder.path} ({named}). "
                f"{self.wanted()}; or {hint}"
            )


class Items(Dataset):
    """The items of one split of a benchmark; pictures are read when their item is, and scaled to one size."""

    def __init__(self, items: Sequence[Item], asked: Asked) -> None:
        self.asked, self._items, benchmark = asked, items, asked.benchmark
        self.name = f"{benchmark.name}, {asked.split}"
        self.ids = [i.id for i in items]
        twice = [i for i, n in Counter(self.ids).items() if n > 1]
        if twice:
            raise AskedWrongly(f"{benchmark.name}: {shown(twice[0])} is in {asked.folder.path} more than once")
        self._inputs: dict[str, ImageInput | TextInput] = {
            m: ImageInput(kind="image", column=m, size=(asked.size, asked.size), resize=True)
            for m in benchmark.pictures
        } | {m: TextInput(kind="text", column=m) for m in benchmark.texts}
        named = sorted({g for i in items for g in i.groups})
        often = Counter(i.target for i in items)
        modalities: dict[str, Modality] = {m: i.modality({}) for m, i in self._inputs.items()}
        self.schema = Schema(
            modalities=modalities,
            classes=asked.answers or benchmark.classes or tuple(sorted(often, key=lambda t: (-often[t], t))),
            groups={g: tuple(sorted({i.groups.get(g, "") for i in items} - {""})) for g in named},
            cluster=benchmark.cluster,
        )

    def sample(self, i: int) -> Sample:
        item = self._items[i]
        cells: dict[str, Any] = {m: self._there(names) for m, names in item.pictures.items()} | dict(item.texts)
        inputs: dict[str, Any] = {}
        keys: dict[str, int] = {}
        for m, reader in self._inputs.items():
            inputs[m], known = reader.read({m: cells.get(m)}, self.asked.folder)
            if known is not None:
                keys[m] = known
        return Sample(inputs=inputs, target=item.target, groups=item.groups, cluster=item.cluster, keys=keys)

    def _there(self, names: Sequence[str]) -> str:
        name = self.asked.there(names)
        if name is None:
            raise BadSample(f"{shown(names[0])} is not in the copy")
        return name

    def clusters(self) -> list[str]:
        return [i.cluster or i.id for i in self._items]

    def fingerprint(self) -> str:
        return f"{super().fingerprint()}:{self.asked.split}:{self.asked.size}:{sorted(self.asked.more.items())}"


def _answers(path: Path) -> tuple[str, ...]:
    """Labels in the order of the model's scores, a line each."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise AskedWrongly(f"answers: {path} cannot be read as text ({type(error).__name__})") from error
    labels = tuple(line for line in lines if line)
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise AskedWrongly(f"answers: {path} has to hold two distinct labels or more, a line each")
    return labels
