"""MM-IMDb: posters and plots of films. It has several genres a film; here one genre is asked about, yes or no."""

from __future__ import annotations

from muroan.data.benchmarks.benchmark import Asked, Benchmark, Item
from muroan.data.benchmarks.files import of, read_json
from muroan.errors import AskedWrongly

FILMS = 25_959


def _read(asked: Asked) -> list[Item]:
    genre = asked.more.get("genre", "Drama")
    path = IMDB.file(asked, "split.json")
    splits = read_json(path)
    films = sum(len(v) for v in splits.values())
    if films != FILMS and not asked.partial:
        raise AskedWrongly(f"mm-imdb: {path} lists {films:,} films, its source has {FILMS:,}; partial=true takes it")
    out, seen = [], set()
    for number in of(splits, asked.split, path):
        about = IMDB.file(asked, f"dataset/{number}.json", f"labels/{number}.json", f"{number}.json")
        entry = read_json(about)
        genres, plots = of(entry, "genres", about), of(entry, "plot", about)
        seen |= set(genres)
        out.append(
            Item(
                id=str(number),
                target="yes" if genre in genres else "no",
                pictures={"image": (f"dataset/{number}.jpeg", f"images/{number}.jpeg", f"{number}.jpeg")},
                texts={"text": plots[0] if isinstance(plots, list) else str(plots)},
            )
        )
    if genre not in seen:
        raise AskedWrongly(f"mm-imdb: no film is of the genre {genre!r}; there are {', '.join(sorted(seen)[:30])}")
    return out


IMDB = Benchmark(
    name="mm-imdb",
    says="Is a film of this genre, by its poster and plot?",
    source="Arevalo et al., ICLR workshops 2017 (arXiv 1702.01992)",
    home="github.com/johnarevalo/gmu-mmimdb",
    licence="as its page says",
    layout="split.json, dataset/NUMBER.json and NUMBER.jpeg",
    counts={"test": None, "dev": None, "train": None},
    counted="25,959 films in all splits together",
    read=_read,
    classes=("no", "yes"),
    options={"genre": "which genre is asked about, Drama by default"},
)
