"""Do the intervals cover? Simulates every kind of interval where the truth is known and counts.

Prints a table and writes JSON. Each setting draws `--repetitions` data sets, independent or in clusters of about
ten (sizes 5 to 15) with a given intra-cluster correlation (ICC), and reports the share of 95 % intervals that
contain the truth, with its own Monte-Carlo interval, how often the truth lay below and above, and the mean width.

    python benchmarks/coverage.py [--repetitions 2000] [--only auc] [--jobs 2] [--out coverage.json]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr, ndtri

from muroan import estimate as est

Array = NDArray[np.float64]
Rng = np.random.Generator


@dataclass(frozen=True)
class Setting:
    """One simulated situation: `draw` makes a data set and returns its interval, which should contain `truth`."""

    kind: str
    name: str
    n: int
    design: str
    truth: float
    draw: Callable[[Rng], est.Estimate]


@dataclass(frozen=True)
class Row:
    """What a setting's intervals did."""

    kind: str
    name: str
    n: int
    design: str
    coverage: float
    coverage_low: float
    coverage_high: float
    truth_below: float
    truth_above: float
    width: float
    repetitions: int


@lru_cache
def sizes(n: int) -> NDArray[np.int64]:
    """Cluster sizes that add up to n: 5 to 15, ten on average."""
    cycle = np.resize([10, 5, 15, 8, 12], n)
    count = int(np.searchsorted(np.cumsum(cycle), n)) + 1
    out = cycle[:count].copy()
    out[-1] -= out.sum() - n
    return out


@lru_cache
def cluster_ids(n: int) -> NDArray[np.int64]:
    """The cluster of each of n samples."""
    m = sizes(n)
    return np.repeat(np.arange(len(m)), m)


def uneven_sizes(n: int) -> NDArray[np.int64]:
    """Cluster sizes that add up to about n: log-normal (sigma 1.2), so a few clusters hold most samples."""
    spread = np.exp(1.2 * ndtri((np.arange(n // 10) + 0.5) / (n // 10)))
    return np.maximum(1, np.round(n * spread / spread.sum())).astype(np.int64)


def cells(
    rng: Rng, shares: list[float], n: int, icc: float | None, m: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """n draws of a category; with an ICC, each cluster has its own Dirichlet shares (beta-binomial for two)."""
    p = np.asarray(shares)
    if icc is None:
        return rng.choice(len(p), size=n, p=p)
    m = sizes(n) if m is None else m
    gammas = rng.standard_gamma(np.broadcast_to(p * (1 / icc - 1), (len(m), len(p))))
    total = gammas.sum(axis=1, keepdims=True)
    own = np.where(total > 0, gammas / np.where(total > 0, total, 1), rng.multinomial(1, p, len(m)))
    edges = np.repeat(own.cumsum(axis=1), m, axis=0)
    return np.minimum((rng.random(len(edges))[:, None] > edges).sum(axis=1), len(p) - 1)


def normals(rng: Rng, n: int, icc: float | None) -> Array:
    """n standard normals, correlated by `icc` within clusters."""
    if icc is None:
        return rng.standard_normal(n)
    ids = cluster_ids(n)
    shared = rng.standard_normal(int(ids[-1]) + 1)[ids]
    return math.sqrt(icc) * shared + math.sqrt(1 - icc) * rng.standard_normal(n)


def label(icc: float | None) -> str:
    return "independent" if icc is None else f"clusters, ICC {icc}"


def ids_of(n: int, icc: float | None) -> NDArray[np.int64] | None:
    return None if icc is None else cluster_ids(n)


ICCS = (None, 0.1, 0.5)


def proportions() -> Iterator[Setting]:
    for icc in ICCS:
        for n in (30, 300, 3000):
            for p in (0.5, 0.9, 0.99, 0.999):

                def draw(rng: Rng, p: float = p, n: int = n, icc: float | None = icc) -> est.Estimate:
                    return est.proportion(cells(rng, [1 - p, p], n, icc), ids_of(n, icc))

                yield Setting("proportion", f"p={p}", n, label(icc), p, draw)


def uneven_proportions() -> Iterator[Setting]:
    for n in (300, 3000):
        for p in (0.5, 0.9, 0.99):
            m = uneven_sizes(n)

            def draw(rng: Rng, p: float = p, m: NDArray[np.int64] = m) -> est.Estimate:
                hits = cells(rng, [1 - p, p], int(m.sum()), 0.3, m)
                return est.proportion(hits, np.repeat(np.arange(len(m)), m))

            yield Setting("proportion", f"p={p}", n, "uneven, ICC 0.3", p, draw)


def bounded_means() -> Iterator[Setting]:
    """Scores between 0 and 1, such as an IoU, most of them near 1."""
    for icc in (None, 0.5):
        for n in (30, 300, 3000):
            for a, b in ((2.0, 2.0), (4.0, 0.2), (20.0, 0.05)):

                def draw(rng: Rng, a: float = a, b: float = b, n: int = n, icc: float | None = icc) -> est.Estimate:
                    x = betaincinv(a, b, ndtr(normals(rng, n, icc)))
                    return est.mean(x, ids_of(n, icc), bounds=(0, 1))

                yield Setting("mean", f"within 0 and 1, Beta({a:g}, {b:g})", n, label(icc), a / (a + b), draw)


def means() -> Iterator[Setting]:
    shapes: dict[str, tuple[Callable[[Array], Array], float]] = {
        "normal": (lambda z: z, 0.0),
        "exponential": (lambda z: -np.log(ndtr(-z)), 1.0),
    }
    for icc in ICCS:
        for n in (30, 300, 3000):
            for name, (shape, truth) in shapes.items():

                def draw(
                    rng: Rng, n: int = n, icc: float | None = icc, shape: Callable[[Array], Array] = shape
                ) -> est.Estimate:
                    return est.mean(shape(normals(rng, n, icc)), ids_of(n, icc))

                yield Setting("mean", name, n, label(icc), truth, draw)


def paired() -> Iterator[Setting]:
    # Shares of "a right, b wrong" and of "a wrong, b right".
    for icc in ICCS:
        for n in (30, 300, 3000):
            for up, down in ((0.1, 0.1), (0.005, 0.005), (0.0, 0.0), (0.01, 0.0), (0.3, 0.1), (0.15, 0.01)):

                def draw(
                    rng: Rng, up: float = up, down: float = down, n: int = n, icc: float | None = icc
                ) -> est.Estimate:
                    rest = 1 - up - down
                    kind = cells(rng, [up, down, rest * 0.8, rest * 0.2], n, icc)
                    return est.paired_difference((kind == 0) | (kind == 2), (kind == 1) | (kind == 2), ids_of(n, icc))

                yield Setting("paired_difference", f"{up:g} up, {down:g} down", n, label(icc), up - down, draw)


def differences() -> Iterator[Setting]:
    for icc in ICCS:
        for n in (30, 300, 3000):
            for p, q in ((0.5, 0.5), (0.9, 0.8), (0.99, 0.99), (0.999, 0.95)):

                def draw(rng: Rng, p: float = p, q: float = q, n: int = n, icc: float | None = icc) -> est.Estimate:
                    m = n // 2
                    ids = ids_of(m, icc)
                    # Other names in the second group: the groups share no cluster.
                    others = None if ids is None else ids + m
                    return est.difference(cells(rng, [1 - p, p], m, icc), cells(rng, [1 - q, q], m, icc), ids, others)

                yield Setting("difference", f"p={p}, q={q}", n, label(icc), p - q, draw)
    for n in (30, 300):

        def welch(rng: Rng, n: int = n) -> est.Estimate:
            return est.difference(rng.normal(1, 1, n // 3), rng.normal(0, 3, n - n // 3))

        yield Setting("difference", "normal, sd 1 and 3", n, "independent", 1.0, welch)


def shared_differences() -> Iterator[Setting]:
    """Two groups within the same clusters: what one cluster adds to both does not widen their difference."""
    for n in (300, 3000):
        for p, q in ((0.9, 0.8), (0.99, 0.97)):

            def draw(rng: Rng, p: float = p, q: float = q, n: int = n) -> est.Estimate:
                # A Gaussian copula gives both groups the same cluster effect.
                side = rng.random(n) < 0.5
                hit = normals(rng, n, 0.5) < ndtri(np.where(side, p, q))
                ids = cluster_ids(n)
                return est.difference(hit[side], hit[~side], ids[side], ids[~side])

            yield Setting("difference", f"p={p}, q={q}, same clusters", n, "clusters, ICC 0.5", p - q, draw)


def _expected_auc(shift: float, n: int, share: float, icc: float | None) -> float:
    """The expected AUC: of pairs from two clusters, and of the few within one, which share its effect."""
    between = float(ndtr(shift / math.sqrt(2)))
    if icc is None:
        return between
    m = sizes(n).astype(float)
    within_share = float((m * (m - 1)).sum() / (n * (n - 1)))
    within = float(ndtr(shift / math.sqrt(2 * (1 - icc))))
    return (1 - within_share) * between + within_share * within


def aucs() -> Iterator[Setting]:
    for icc in ICCS:
        for n, share in ((60, 0.5), (300, 0.5), (300, 0.1), (3000, 0.1)):
            for area in (0.5, 0.8, 0.99):
                shift = math.sqrt(2) * float(ndtri(area))

                def draw(
                    rng: Rng, shift: float = shift, n: int = n, share: float = share, icc: float | None = icc
                ) -> est.Estimate:
                    z, ids = normals(rng, n, icc), ids_of(n, icc)
                    pos = np.zeros(n, bool)
                    pos[rng.permutation(n)[: int(n * share)]] = True
                    z[pos] += shift
                    if ids is None:
                        return est.auc(z[pos], z[~pos])
                    return est.auc(z[pos], z[~pos], ids[pos], ids[~pos])

                truth = _expected_auc(shift, n, share, icc)
                yield Setting("auc", f"auc={area}, {share:.0%} positive", n, label(icc), truth, draw)


def mixed_aucs() -> Iterator[Setting]:
    """A share of positives scores like negatives, all others far above."""
    for n, share in ((60, 0.5), (300, 0.1), (3000, 0.1)):
        for area in (0.8, 0.95, 0.99):

            def draw(rng: Rng, area: float = area, n: int = n, share: float = share) -> est.Estimate:
                m = int(n * share)
                seen = rng.random(m) > 2 * (1 - area)
                return est.auc(rng.standard_normal(m) + 20 * seen, rng.standard_normal(n - m))

            yield Setting("auc", f"auc={area}, {share:.0%} pos., mixture", n, "independent", area, draw)


def auc_differences() -> Iterator[Setting]:
    for icc in (None, 0.5):
        for n in (60, 300, 1000):
            for first, second in ((0.8, 0.8), (0.8, 0.7), (0.99, 0.99), (0.99, 0.95)):
                shifts = [math.sqrt(2) * float(ndtri(a)) for a in (first, second)]

                def draw(rng: Rng, shifts: list[float] = shifts, n: int = n, icc: float | None = icc) -> est.Estimate:
                    common, ids = normals(rng, n, icc), ids_of(n, icc)
                    both = [math.sqrt(0.7) * common + math.sqrt(0.3) * normals(rng, n, icc) for _ in shifts]
                    pos = rng.permutation(n) < n // 2
                    for z, shift in zip(both, shifts, strict=True):
                        z[pos] += shift
                    a, b = both
                    names = () if ids is None else (ids[pos], ids[~pos])
                    return est.auc_difference(a[pos], a[~pos], b[pos], b[~pos], *names)

                areas = [_expected_auc(s, n, 0.5, icc) for s in shifts]
                name = f"auc={first} against {second}"
                yield Setting("auc_difference", name, n, label(icc), areas[0] - areas[1], draw)


def quantiles() -> Iterator[Setting]:
    for icc in (None, 0.5):
        for n in (30, 300, 3000):
            for q in (0.5, 0.9, 0.99):

                def draw(rng: Rng, q: float = q, n: int = n, icc: float | None = icc) -> est.Estimate:
                    return est.quantile(normals(rng, n, icc), q, ids_of(n, icc))

                yield Setting("quantile", f"q={q}", n, label(icc), float(ndtri(q)), draw)


def _ratio(totals: Array) -> Array:
    return totals[:, 0] / totals[:, 1]


def _f1(totals: Array) -> Array:
    true, false_alarm, missed = totals[:, 0], totals[:, 1], totals[:, 2]
    return 2 * true / (2 * true + false_alarm + missed)


def bootstraps() -> Iterator[Setting]:
    for n in (30, 300):
        for icc in (None, 0.5):

            def ratio(rng: Rng, n: int = n, icc: float | None = icc) -> est.Estimate:
                y = np.exp(0.5 * normals(rng, n, icc) - 0.125)
                x = np.exp(0.5 * normals(rng, n, icc) - 0.125)
                totals = est.sum_by_cluster(np.stack([2 * y, x], axis=1), ids_of(n, icc))
                return est.bootstrap(totals, _ratio, n=n, draws=500, seed=int(rng.integers(2**31)))

            yield Setting("bootstrap", "ratio of lognormal sums", n, label(icc), 2.0, ratio)
    for n in (100, 300, 1000):
        for icc in ICCS:

            def f1(rng: Rng, n: int = n, icc: float | None = icc) -> est.Estimate:
                kind = cells(rng, [0.2, 0.05, 0.1, 0.65], n, icc)
                totals = est.sum_by_cluster(np.eye(4)[kind], ids_of(n, icc))
                return est.bootstrap(totals, _f1, n=n, draws=500, seed=int(rng.integers(2**31)))

            yield Setting("bootstrap", "F1", n, label(icc), 0.4 / 0.55, f1)


def gaps() -> Iterator[Setting]:
    cases = {
        "8 equal groups, p=0.9": [0.9] * 8,
        "2 equal groups, p=0.9": [0.9] * 2,
        "8 equal groups, p=0.99": [0.99] * 8,
        "8 groups, one 0.15 lower": [0.9] * 7 + [0.75],
        "4 groups, 0.7 to 0.95": [0.95, 0.9, 0.8, 0.7],
        "4 groups, one perfect": [1.0, 0.95, 0.95, 0.9],
    }
    for icc in (None, 0.5):
        for n in (300, 3000):
            for name, shares in cases.items():

                def draw(rng: Rng, shares: list[float] = shares, n: int = n, icc: float | None = icc) -> est.Estimate:
                    group = rng.integers(0, len(shares), n)
                    hit = normals(rng, n, icc) < ndtri(np.asarray(shares))[group]
                    totals = np.zeros((n, len(shares), 2))
                    totals[np.arange(n), group, 0] = hit
                    totals[np.arange(n), group, 1] = 1
                    names = [str(g) for g in range(len(shares))]
                    by_cluster = est.sum_by_cluster(totals, ids_of(n, icc))
                    seed = int(rng.integers(2**31))
                    return est.max_gap(by_cluster, names, draws=500, seed=seed).estimate

                yield Setting("max_gap", name, n, label(icc), max(shares) - min(shares), draw)


KINDS: dict[str, tuple[Callable[[], Iterator[Setting]], ...]] = {
    "proportion": (proportions, uneven_proportions),
    "mean": (means, bounded_means),
    "paired_difference": (paired,),
    "difference": (differences, shared_differences),
    "auc": (aucs, mixed_aucs),
    "auc_difference": (auc_differences,),
    "quantile": (quantiles,),
    "bootstrap": (bootstraps,),
    "max_gap": (gaps,),
}


def measure(setting: Setting, repetitions: int, seed: int) -> Row:
    """Coverage of one setting."""
    rng = np.random.default_rng(seed)
    drawn = [setting.draw(rng) for _ in range(repetitions)]
    low = np.array([e.low for e in drawn])
    high = np.array([e.high for e in drawn])
    # Truths that are differences of decimals, such as 0.9 - 0.8, carry rounding errors.
    below, above = setting.truth < low - 1e-12, setting.truth > high + 1e-12
    covered = est.proportion(~(below | above))
    return Row(
        setting.kind,
        setting.name,
        setting.n,
        setting.design,
        covered.value,
        covered.low,
        covered.high,
        float(below.mean()),
        float(above.mean()),
        float(np.mean(high - low)),
        repetitions,
    )


def _measure(task: tuple[int, int, int]) -> Row:
    """Settings hold functions, which cannot be sent to a process: it makes them again and takes the one meant."""
    position, repetitions, seed = task
    return measure(list(every(KINDS))[position], repetitions, seed)


def every(kinds: Iterable[str]) -> Iterator[Setting]:
    """The settings of these kinds."""
    for kind in kinds:
        for settings in KINDS[kind]:
            yield from settings()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--only", choices=sorted(KINDS), nargs="*", default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=None, help="JSON file (default: standard output, after the table)")
    args = parser.parse_args()
    print(
        f"{'kind':18s}{'truth':34s}{'n':>6s}  {'design':19s}{'coverage':>9s}  {'[95 % interval]':16s}"
        f"{'below':>7s}{'above':>7s}{'width':>8s}"
    )
    tasks = [(i, args.repetitions, args.seed) for i, setting in enumerate(every(KINDS)) if setting.kind in args.only]
    rows: list[Row] = []
    start = time.perf_counter()
    with ProcessPoolExecutor(args.jobs) as pool:
        for row in pool.map(_measure, tasks):
            rows.append(row)
            mark = " " if row.coverage_high >= 0.95 else "<"
            print(
                f"{row.kind:18s}{row.name:34s}{row.n:6d}  {row.design:19s}{row.coverage:9.3f}{mark} "
                f"[{row.coverage_low:.3f}, {row.coverage_high:.3f}]  {row.truth_below:7.3f}"
                f"{row.truth_above:7.3f}{row.width:8.3f}",
                flush=True,
            )
    result = {
        "level": 0.95,
        "repetitions": args.repetitions,
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime, 1),
        "processes": args.jobs,
        "settings": len(rows),
        "below_0.93_at_300_or_more": [
            f"{r.kind}: {r.name}, n={r.n}, {r.design}: {r.coverage:.3f}"
            for r in rows
            if r.n >= 300 and r.coverage < 0.93
        ],
        "least_coverage_at_300_or_more": {
            kind: min(r.coverage for r in rows if r.kind == kind and r.n >= 300) for kind in args.only
        },
        "rows": [asdict(r) for r in rows],
    }
    text = json.dumps(result, indent=1).replace("Infinity", '"Infinity"') + "\n"
    if args.out:
        args.out.write_text(text)
        print({k: v for k, v in result.items() if k != "rows"})
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
