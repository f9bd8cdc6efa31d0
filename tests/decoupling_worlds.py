"""Models with known answers for the decoupling attack, and the attack written once more, slowly and one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, islice
from typing import Any

import torch
from torch import Tensor

from muroan.batch import Batch
from muroan.interventions.attacks.decoupling import Decoupling
from muroan.modality import Image, Modality, Tabular, Text
from muroan.model import Model, TorchModel

CUE = "cue"


def planted_modalities(fill: float = 0.0) -> dict[str, Modality]:
    return {"image": Image(size=(224, 224), channels=1, fill=(fill,)), "text": Text()}


def planted_model(row: int = 112, column: int = 56, side: int = 28) -> TorchModel:
    """Class 1 iff the mean of one block is above 0.5 and the cue word is there (golden G1b)."""

    def block(x: Tensor) -> Tensor:
        part = x[:, 0, row : row + side, column : column + side]
        return (part.mean(dim=(1, 2), dtype=torch.float64) > 0.5).float()

    return TorchModel(
        encoders={"image": block, "text": lambda texts: torch.tensor([float(CUE in t.split()) for t in texts])},
        fusion=lambda c: torch.stack([1 - c["image"] * c["text"], c["image"] * c["text"]], dim=1),
        head=lambda fused: fused,
        classes=["0", "1"],
    )


def planted_batch() -> Batch:
    return Batch(
        planted_modalities(),
        {"image": torch.ones(1, 1, 224, 224), "text": [f"one {CUE} and more"]},
        torch.tensor([1]),
        ["planted"],
    )


VOCABULARY = [f"w{i}" for i in range(12)]
SIZE = (7, 9)
COLUMNS = ("a", "b", "c")


def small_modalities() -> dict[str, Modality]:
    return {
        "image": Image(size=SIZE, channels=1, fill=(0.4,)),
        "text": Text(),
        "table": Tabular(columns=COLUMNS, fill=(0.1, 0.0, -0.2)),
    }


def small_model(seed: int) -> TorchModel:
    """Three modalities, fused by product and sum, random weights; in double, so that batches change nothing."""
    g = torch.Generator().manual_seed(seed)
    pixels = torch.randn(SIZE[0] * SIZE[1], 12, generator=g, dtype=torch.float64)
    words = torch.randn(len(VOCABULARY), 12, generator=g, dtype=torch.float64)
    columns = torch.randn(len(COLUMNS), 12, generator=g, dtype=torch.float64)
    head = torch.randn(12, 4, generator=g, dtype=torch.float64)

    def text(texts: Sequence[str]) -> Tensor:
        rows = [words[[VOCABULARY.index(w) for w in t.split()]].sum(dim=0) for t in texts]
        return torch.stack(rows) if rows else torch.zeros(0, 12, dtype=torch.float64)

    return TorchModel(
        encoders={
            "image": lambda x: torch.tanh((x.double() - 0.5).flatten(1) @ pixels),
            "text": text,
            "table": lambda x: torch.tanh(x.double() @ columns),
        },
        fusion=lambda c: c["image"] * c["text"] + c["table"],
        head=lambda fused: fused @ head,
        classes=list("ABCD"),
    )


def firm_model(seed: int, firmness: float = 0.75) -> TorchModel:
    """Yes as long as what is left of the evidence, spread over all three inputs, is more than `firmness` of it."""
    g = torch.Generator().manual_seed(seed)
    pixels = torch.rand(SIZE[0] * SIZE[1], generator=g, dtype=torch.float64)
    words = {w: 0.05 * float(v) for w, v in zip(VOCABULARY, torch.rand(12, generator=g), strict=True)}
    return TorchModel(
        encoders={
            "image": lambda x: ((x.double() - 0.4).clamp_min(0).flatten(1) * pixels).mean(dim=1),
            "text": lambda texts: torch.tensor([sum(words[w] for w in t.split()) for t in texts]).double(),
            "table": lambda x: 0.05 * (x.double() - torch.tensor([0.1, 0.0, -0.2])).abs().sum(dim=1),
        },
        fusion=lambda c: torch.stack([c["image"], c["text"], c["table"]], dim=1),
        head=lambda z: torch.stack([torch.full((len(z),), 0.18 * firmness).double(), z.sum(dim=1)], dim=1),
        classes=["no", "yes"],
    )


def small_batch(seed: int, n: int, pictures: int) -> Batch:
    """n samples over fewer pictures; the last of them has no table."""
    g = torch.Generator().manual_seed(seed + 1)
    image = torch.rand(pictures, 1, *SIZE, generator=g)
    which = torch.randint(pictures, (n,), generator=g)
    texts = []
    for _ in range(n):
        length = int(torch.randint(1, 6, (1,), generator=g))
        texts.append(" ".join(VOCABULARY[int(i)] for i in torch.randint(12, (length,), generator=g)))
    table = torch.randn(n, len(COLUMNS), generator=g)
    here = torch.arange(n) < n - 1
    modalities = small_modalities()
    table = torch.where(here[:, None], table, modalities["table"].neutral(table))
    return Batch(
        modalities,
        {"image": image[which], "text": texts, "table": table},
        torch.randint(4, (n,), generator=g),
        [f"s{i}" for i in range(n)],
        present={"table": here},
        keys={"image": which},
    )


# The attack once more: one sample, one removal at a time, whole-model calls.

Set = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass
class Slow:
    success: bool
    boxes: dict[str, list[tuple[int, ...]]]
    probes: int
    tries: int
    calls: int
    candidates: dict[str, list[tuple[int, ...]]]


def halves(box: tuple[int, ...], finest: int) -> list[tuple[int, ...]]:
    axes = len(box) // 2
    pieces: list[list[tuple[int, int]]] = []
    for axis in range(axes):
        start, size = box[axis], box[axes + axis]
        half = -(-size // 2)
        pieces.append([(start, half), (start + half, size - half)] if size > finest else [(start, size)])
    if axes == 1:
        return [(s, n) for s, n in pieces[0]]
    return [(y, x, h, w) for x, w in pieces[1] for y, h in pieces[0]]


def covered(boxes: Sequence[tuple[int, ...]]) -> set[tuple[int, ...]]:
    out: set[tuple[int, ...]] = set()
    for box in boxes:
        if len(box) == 2:
            out |= {(i,) for i in range(box[0], box[0] + box[1])}
        else:
            y, x, h, w = box
            out |= {(i, j) for i in range(y, y + h) for j in range(x, x + w)}
    return out


def erased(kind: str, value: Any, points: set[tuple[int, ...]], modality: Any) -> Any:
    if kind == "text":
        return " ".join(w for i, w in enumerate(value.split()) if (i,) not in points) if points else value
    out = value.clone()
    for at in points:
        if kind == "image":
            out[:, at[0], at[1]] = torch.tensor(modality.fill)
        else:
            out[at[0]] = modality.fill[at[0]]
    return out


def slowly(model: Model, batch: Batch, i: int, attack: Decoupling, shares: Mapping[str, float]) -> Slow:
    """`Decoupling` on sample i, as one would write it down."""
    inputs = {m: v[i] for m, v in batch.inputs.items()}
    here = {m: bool(batch.present[m][i]) if m in batch.present else True for m in inputs}
    grid: dict[str, tuple[int, ...]] = {}
    for m, v in inputs.items():
        size = (len(v.split()),) if isinstance(v, str) else tuple(v.shape[-2:]) if v.ndim == 3 else (len(v),)
        grid[m] = size if here[m] else tuple(0 for _ in size)
    points = {m: torch.tensor(g).prod().item() for m, g in grid.items()}
    total = sum(points.values())

    def codes(chosen: Set) -> Tensor:
        changed = {}
        for m, v in inputs.items():
            kind = batch.modalities[m].kind
            value = erased(kind, v, covered([b for n, b in chosen if n == m]), batch.modalities[m])
            changed[m] = model.encode(m, [value] if kind == "text" else value[None])
        return model.fuse(changed)

    def scores(chosen: Set) -> Tensor:
        return model.decide(codes(chosen))[0].float()

    clean = scores(())
    label = int(clean.argmax())

    def lead(logits: Tensor) -> float:
        d = logits.double()
        return float(d[label] - torch.cat([d[:label], d[label + 1 :]]).max())

    def flips(chosen: Set) -> bool:
        return int(scores(chosen).argmax()) != label

    def kept(chosen: Set) -> float:
        if attack.test == "margin":
            return lead(scores(chosen)) / lead(clean)
        if attack.test == "label":
            return float(not flips(chosen))
        now, before = codes(chosen)[0], codes(())[0]
        if attack.test == "argmax":
            return float(now.argmax() == before.argmax())
        return float(torch.nn.functional.cosine_similarity(now.double(), before.double(), dim=0))

    below = attack.threshold if attack.test in ("margin", "cosine") else 0.5
    found: list[tuple[int, float, int, int, tuple[str, tuple[int, ...]]]] = []
    candidates: dict[str, list[tuple[int, ...]]] = {}
    probes = 0
    for order, m in enumerate(shares):
        candidates[m] = []
        pointwise = batch.modalities[m].kind in ("text", "tabular")
        if points[m] == 0:
            continue
        finest = min(attack.cell, -(-max(grid[m]) // 8))
        level = [(i, 1) for i in range(points[m])] if pointwise else halves((0,) * len(grid[m]) + grid[m], finest)
        while level:
            further = []
            for box in level:
                probes += 1
                passes = kept(((m, box),)) < below
                if passes:
                    candidates[m].append(box)
                if passes or pointwise:
                    drop = 1 - lead(scores(((m, box),))) / lead(clean)
                    found.append((len(covered([box])), -round(drop, 4), order, len(found), (m, box)))
                axes = len(box) // 2
                if passes and not pointwise and max(box[axes:]) > finest:
                    further += halves(box, finest)
            level = further

    def within(chosen: Set) -> bool:
        gone = {m: len(covered([b for n, b in chosen if n == m])) for m in shares}
        return sum(gone.values()) <= max(1, int(total * attack.share + 1e-9)) and all(
            gone[m] <= int(points[m] * s + 1e-9) for m, s in shares.items()
        )

    inside: dict[tuple[object, object], bool] = {}

    def nested(chosen: Set) -> bool:
        return any(inside[a, b] for a in chosen for b in chosen)

    def worth_trying() -> Iterator[Set]:
        for n in range(2, len(listed) + 1):
            some = False
            for chosen in combinations(listed, n):
                if not nested(chosen):
                    some = True
                    yield chosen
            if not some:  # then larger sets are all nested too
                return

    regions_last = attack.search == "cumulative"
    found.sort(key=lambda f: ((batch.modalities[f[4][0]].kind == "image") and regions_last, *f[:4]))
    listed = [f[4] for f in found]
    singles: list[Set] = [(c,) for c in listed]
    if attack.search == "subset":
        inside |= {
            (a, b): a != b and a[0] == b[0] and covered([a[1]]) <= covered([b[1]]) for a in listed for b in listed
        }
        larger: Iterable[Set] = worth_trying()
    else:
        words = [c for c in listed if batch.modalities[c[0]].kind != "image"]
        regions = [c for c in listed if batch.modalities[c[0]].kind == "image"]
        subsets = (s for n in range(2, len(words) + 1) for s in combinations(words, n))
        first = islice(subsets, max(0, attack.max_tries - len(listed)))
        larger = chain(first, (tuple(regions[:k]) for k in range(2, len(regions) + 1)))
    tries, calls, hit, small = 0, probes, None, False

    def tried(sets: Iterable[Set]) -> Set | None:
        nonlocal tries, calls
        for chosen in sets:
            if tries == attack.max_tries:
                break
            tries += 1
            if within(chosen):
                calls += len(chosen) > 1
                if flips(chosen):
                    return chosen
        return None

    hit = tried(singles)
    if hit is None and attack.shrink:
        enough = [k for k, c in enumerate(singles[: attack.max_tries]) if flips(c)]
        if enough:
            trimmed, more = shrunk(singles[enough[0]], flips)
            calls += more
            if within(trimmed):
                hit, small, tries = trimmed, True, enough[0] + 1
    if hit is None:
        hit = tried(larger)
    if hit is None:
        return Slow(False, {}, probes, tries, calls, candidates)
    if attack.shrink and not small:
        hit, more = shrunk(hit, flips)
        calls += more
    boxes: dict[str, list[tuple[int, ...]]] = {}
    for m, b in hit:
        boxes.setdefault(m, []).append(b)
    return Slow(True, boxes, probes, tries, calls, candidates)


def shrunk(hit: Set, flips: Any) -> tuple[Set, int]:
    slots = list(hit)
    order = sorted(range(len(slots)), key=lambda k: -len(covered([slots[k][1]])))
    calls = 0
    for k in order:
        changed = True
        while changed:
            changed = False
            m, box = slots[k]
            axes = len(box) // 2
            smaller: list[tuple[int, ...] | None] = []
            if sum(s is not None for s in slots) > 1:
                smaller.append(None)
            for part in (2, 4):
                for axis in range(axes):
                    cut = box[axes + axis] // part
                    if cut:
                        low, high = list(box), list(box)
                        low[axes + axis] -= cut
                        high[axis] += cut
                        high[axes + axis] -= cut
                        smaller += [tuple(low), tuple(high)]
            for new in smaller:
                trial = [*slots[:k], None if new is None else (m, new), *slots[k + 1 :]]
                calls += 1
                if flips(tuple(s for s in trial if s is not None)):
                    slots = trial  # type: ignore[assignment]
                    changed = new is not None
                    break
    return tuple(s for s in slots if s is not None), calls
