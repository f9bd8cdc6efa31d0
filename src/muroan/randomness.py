"""Random numbers that belong to a sample, not to a position in a batch.

A draw is a pure function of (seed, purpose, sample, index): the same sample gets the same noise alone, in
a batch, in any shard, on any engine, and after a resume. This is what makes "same plan, same findings" hold
for every probe at once. The generator is splitmix64 (Steele, Lea, Flood 2014) used as a hash of a counter:
fast, vectorised, and good enough for noise and sampling; never for keys or secrets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Words = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_AT_ONCE = 2**16


def _mix(x: Words, spare: Words) -> None:
    """The finishing steps of splitmix64, in place; spare: room of the same size."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        np.right_shift(x, np.uint64(shift), out=spare)
        x ^= spare
        x *= np.uint64(factor)
    np.right_shift(x, np.uint64(31), out=spare)
    x ^= spare


def mixed(words: Words) -> Words:
    """Each word as one that looks drawn at random; different words stay different."""
    out = words + _GOLDEN
    with np.errstate(over="ignore"):
        _mix(out, np.empty_like(out))
    return out


def key(*parts: object) -> int:
    """A 64-bit key of anything printable; equal parts give equal keys on every machine and run."""
    text = "\x1f".join(str(p) for p in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def sample_keys(ids: Sequence[str], *purpose: object) -> Words:
    """One key per sample id [N] for one purpose (a probe's name, a seed, a condition)."""
    base = key(*purpose)
    return np.array([key(base, i) for i in ids], dtype=np.uint64)


def uniform(keys: Words, *shape: int) -> NDArray[np.float64]:
    """Uniform draws in the open interval (0, 1), shape [N, *shape]: row i depends on keys[i] alone."""
    size = int(np.prod(shape)) if shape else 1
    draws = np.empty((len(keys), size))
    words = draws.view(np.uint64)
    step = max(1, _AT_ONCE // max(1, size))
    spare = np.empty((min(step, len(keys)), size), dtype=np.uint64)
    with np.errstate(over="ignore"):
        counter = (np.arange(size, dtype=np.uint64) + np.uint64(1)) * _GOLDEN
        # In place and a few rows at a time: what is drawn for a batch of pictures does not fit a processor's cache.
        for start in range(0, len(keys), step):
            x = words[start : start + step]
            np.add(keys[start : start + step, None], counter, out=x)
            _mix(x, spare[: len(x)])
            # 52 bits and a half: with 53 the largest draw would round to 1, which is no index and an infinite normal.
            x >>= np.uint64(12)
            out = draws[start : start + step]
            np.add(x, 0.5, out=out, casting="unsafe")
            out *= 2.0**-52
    return draws.reshape(len(keys), *shape)


def normal(keys: Words, *shape: int) -> NDArray[np.float64]:
    """Standard normal draws, shape [N, *shape]: row i depends on keys[i] alone."""
    return np.asarray(ndtri(uniform(keys, *shape)))


def integers(keys: Words, high: NDArray[np.int64] | int, *shape: int) -> NDArray[np.int64]:
    """Integers in [0, high), shape [N, *shape]; `high` may broadcast against the result."""
    return np.floor(uniform(keys, *shape) * high).astype(np.int64)


def choose(ids: Sequence[str], n: int, *purpose: object) -> list[int]:
    """Positions of `n` ids drawn without replacement; which ones depends on the ids, not on their order."""
    if n >= len(ids):
        return list(range(len(ids)))
    order = np.argsort(sample_keys(ids, *purpose), kind="stable")[:n]
    return sorted(int(i) for i in order)


@contextmanager
def seeded(*purpose: object) -> Iterator[None]:
    """Meanwhile torch's own generator begins at a key of this purpose; afterwards it goes on as if nothing was drawn.

    For what torch draws by itself: first weights of a network, dropout, noise in a step of training.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(*purpose) % 2**62)
        yield
