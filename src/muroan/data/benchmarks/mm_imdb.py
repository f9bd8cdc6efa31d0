"""MM-IMDb: posters and plots of films. It has several genres a film; here one genre is asked about, yes or no."""

from __future__ import annotations

from collections.abc import Iterator

from muroan.data.benchmarks.benchmark import Asked, Benchmark, Item
from muroan.data.benchmarks.files import Entry, read_json
from muroan.errors import AskedWrongly

FILMS = 25_959


def _read(asked: Asked) -> Iterator[Item]:
    genre = asked.more.get("genre", "Drama")
    path = asked.file("split.json")
    splits = Entry(read_json(path), path)
    films = sum(len(v) for v in splits.values())
    if films != FILMS and not asked.partial:
        raise AskedWrongly(f"mm-imdb: {path} lists {films:,} films, its source has {FILMS:,}; partial=true takes it")
    seen = set()
    for number in splits[asked.split]:
        about = asked.file(f"dataset/{number}.json", f"labels/{number}.json", f"{number}.json")
        entry = Entry(read_json(about), about)
        genres, plots = entry["genres"], entry["plot"]
        seen |= set(genres)
        files = (f"dataset/{number}.jpeg", f"images/{number}.jpeg", f"{number}.jpeg")
        plot = plots[0] if isinstance(plots, list) else str(plots)
        yield Item(str(number), "yes" if genre in genres else "no", pictures={"image": files}, texts={"text": plot})
    if genre not in seen:
        raise AskedWrongly(f"mm-imdb: no film is of the genre {genre!r}; there are {', '.join(sorted(seen)[:30])}")


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
