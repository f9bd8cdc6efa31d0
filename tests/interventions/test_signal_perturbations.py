"""Perturbations of sound, series and table rows: what each says it does, and what all of them promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from muroan.errors import NotApplicable
from muroan.interventions.perturbations import SEVERITIES, TABLE, Draws, Perturbation, of_kind
from muroan.interventions.perturbations.audio import clipping, narrow_band, reverberation, white_noise
from muroan.interventions.perturbations.signal import clock_skew, drift
from muroan.modality import Audio, Image, Modality, Series, Tabular, Text
from muroan.randomness import sample_keys

SIGNALS = {
    "audio": Audio(rate=8000, length=4000, frame=100),
    "series": Series(length=60, channels=("a", "b", "c"), fill=(9.0, 8.0, 7.0)),
    "tabular": Tabular(columns=tuple("abcdefghijklmnopqrst"), fill=(7.0,) * 20),
}
SMALL: dict[str, Modality] = {
    "image": Image(size=(8, 9)),
    "text": Text(lexicon=(("red", ("scarlet",)),)),
    "audio": Audio(rate=1000, length=96, frame=8),
    "series": Series(length=12, channels=("a", "b"), fill=(1.0, 2.0)),
    "tabular": Tabular(columns=("a", "b", "c"), fill=(1.0, 2.0, 3.0)),
}
NAMED = [p for p in TABLE if p.kind in SIGNALS]
FINISHED = [p for p in TABLE if p.wants is None]
RELATIVE = ("noise", "drift", "room", "timing", "band", "overload")
"""Families that change a value by what it holds: one that holds nothing keeps it."""


def named(p: Perturbation) -> str:
    return f"{p.kind}-{p.name}"


def draws(n: int, *purpose: object) -> Draws:
    return Draws(sample_keys([str(i) for i in range(n)], *purpose))


def slow(n: int, steps: int) -> torch.Tensor:
    """Half a wave a value: what is early is unlike what is late, and a small shift changes little."""
    return 0.8 * torch.cos(math.pi * torch.arange(steps) / (steps - 1)).expand(n, -1).contiguous()


# What all rows of the table promise.


@st.composite
def values(draw, kind: str):
    """A batch of two to four values of a kind: ordinary, at the ends of its range, or without any spread."""
    n = draw(st.integers(2, 4))
    if kind == "text":
        return draw(
            st.lists(st.sampled_from(["", "a", "a red ball.", "is it red? no", "Ünï 7"]), min_size=n, max_size=n)
        )
    m = SMALL[kind]
    top = 1.0 if math.isfinite(m.high) else draw(st.sampled_from([1.0, 1e4]))
    low = 0.0 if kind == "image" else -top
    x = torch.from_numpy(np.random.default_rng(draw(st.integers(0, 2**20))).uniform(low, top, (n, *m.blank().shape)))
    x[0] = draw(st.sampled_from([0.0, top, low]))
    return x.float()


@pytest.mark.parametrize("p", FINISHED, ids=named)
@given(data=st.data())
@settings(max_examples=8)
def test_any_value_keeps_its_form_and_is_changed_alone_as_in_a_batch(p: Perturbation, data: st.DataObject) -> None:
    m = SMALL[p.kind]
    if p.fits(m) is not None:
        pytest.skip(str(p.fits(m)))
    x = data.draw(values(p.kind))
    keys = sample_keys([str(i) for i in range(len(x))], data.draw(st.integers(0, 99)), p.name)
    severity = data.draw(st.sampled_from(p.severities))
    before = list(x) if isinstance(x, list) else x.clone()
    y = p(x, severity, Draws(keys), m)
    alone = [p(x[i : i + 1], severity, Draws(keys[i : i + 1]), m)[0] for i in range(len(x))]
    assert len(y) == len(x)
    if isinstance(x, list):
        assert x == before
        assert alone == y
        return
    assert torch.equal(x, before), "writes into its input"
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert bool(torch.isfinite(y).all())
    assert float(y.min()) >= m.low
    assert float(y.max()) <= m.high
    assert torch.allclose(torch.stack(alone), y, rtol=1e-5, atol=2e-6)
    assert p(x, 0, Draws(keys), m) is x
    if p.kind in SIGNALS and p.family in RELATIVE:
        assert torch.allclose(p(torch.zeros_like(x), severity, Draws(keys), m), torch.zeros_like(x))
    if p.kind == "series" and p.family in (*RELATIVE, "sensor"):  # a channel that does not move
        still = x[:, :1].expand_as(x).contiguous()
        assert torch.equal(p(still, severity, Draws(keys), m), still)


@pytest.mark.parametrize("p", NAMED, ids=named)
def test_signals_change_more_at_a_higher_severity(p: Perturbation) -> None:
    m = SIGNALS[p.kind]
    x = torch.rand(30, *m.blank().shape, generator=torch.Generator().manual_seed(4)) * 1.6 - 0.8
    if p.family == "timing":  # of white noise any shift changes as much as any other
        x = slow(30, x.shape[1]).view(30, -1, *[1] * (x.ndim - 2)).expand_as(x).contiguous()
    kept = draws(30, p.name)
    size = [float((p(x, s, kept, m) - x).abs().mean()) for s in SEVERITIES]
    assert size == sorted(size)
    assert 0 < size[0] < size[-1]


@pytest.mark.parametrize("p", NAMED, ids=named)
def test_what_is_drawn_does_not_depend_on_the_severity(p: Perturbation) -> None:
    m = SIGNALS[p.kind]
    x = torch.rand(6, *m.blank().shape, generator=torch.Generator().manual_seed(5)) - 0.5
    keys = sample_keys([str(i) for i in range(6)], p.name)
    shared = Draws(keys)
    p(x, 1, shared, m)
    assert torch.equal(p(x, 5, shared, m), p(x, 5, Draws(keys), m))


@pytest.mark.parametrize("kind", SIGNALS)
def test_what_is_lost_is_neutral_and_as_much_as_stated(kind: str) -> None:
    m = SIGNALS[kind]
    x = torch.full((400, *m.blank().shape), 0.5)
    for p in (p for p in of_kind(kind) if p.family == "loss"):
        y = p(x, 5, draws(400), m)
        lost = (y != x).float().mean()
        assert float(lost) == pytest.approx(0.4, abs=0.02), p.name
        assert torch.equal(y[y != x].unique(), m.neutral(x).unique())


@pytest.mark.parametrize("name", ["unit_error", "stuck_sensor", "channel_swap"])
def test_a_fault_of_one_channel_leaves_the_others(name: str) -> None:
    p = next(p for p in of_kind("series") if p.name == name)
    x = torch.rand(40, 60, 3, generator=torch.Generator().manual_seed(6)) + 1
    touched = (p(x, 5, draws(40, name), SIGNALS["series"]) != x).any(dim=1).sum(dim=1)
    assert set(touched.tolist()) == {2 if name == "channel_swap" else 1}


# What each says.


def test_white_noise_has_the_stated_power() -> None:
    x = 0.3 * torch.sin(torch.arange(16000) / 10).expand(4, -1)
    for severity, decibels in zip(SEVERITIES[:3], (30, 20, 10), strict=True):
        noise = white_noise(x, decibels, draws(4), Audio(rate=16000, length=16000), 1.0) - x
        ratio = 10 * torch.log10(x.square().mean() / noise.square().mean())
        assert float(ratio) == pytest.approx(decibels, abs=0.2), severity


def test_clipping_cuts_at_a_share_of_the_own_peak() -> None:
    x = torch.tensor([[0.1, -0.8, 0.4], [0.01, 0.02, -0.04]])
    wanted = torch.tensor([[0.1, -0.4, 0.4], [0.01, 0.02, -0.02]])
    assert torch.allclose(clipping(x, 0.5, draws(2), Audio(rate=1, length=3), 1.0), wanted)


def test_mains_hum_has_the_frequency_and_power_of_mains() -> None:
    m = Audio(rate=8000, length=8000)
    x = 0.2 * torch.sin(2 * math.pi * 1000 * torch.arange(8000) / 8000).expand(20, -1)
    hum = next(p for p in of_kind("audio") if p.name == "mains_hum")(x, 3, draws(20), m) - x
    spectrum = torch.fft.rfft(hum).abs()  # one bin a hertz
    assert set(spectrum.argmax(dim=1).tolist()) == {50, 60}
    assert 10 * math.log10(float(x.square().mean() / hum.square().mean())) == pytest.approx(10, abs=0.01)
    silent = spectrum.clone()
    for base in (50, 60):
        silent[:, [base, 2 * base, 3 * base]] = 0
    assert float(silent.max()) < 1e-3 * float(spectrum.max())


def test_an_echo_follows_a_click_and_dies_away() -> None:
    m = Audio(rate=8000, length=8000)
    click = torch.zeros(50, 8000)
    click[:, 1000] = 0.9
    y = reverberation(click, (0.4, 3.0), draws(50), m, 1.0)
    assert torch.allclose(y[:, :1000], torch.zeros(()), atol=1e-6), "heard before it was made"
    echo = (y - click)[:, 1001:].square().mean(dim=0)
    assert float(echo.sum() / 0.81) == pytest.approx(10**-0.3, rel=0.02)
    early, late = echo[:400].mean(), echo[1600:2000].mean()  # 0.2 seconds later: half of 60 dB
    assert 10 * math.log10(float(early / late)) == pytest.approx(30, abs=1.5)


def test_narrow_band_passes_what_is_low_alone() -> None:
    m = Audio(rate=8000, length=4000)
    at = torch.arange(4000) / 8000
    low, high = (0.4 * torch.cos(2 * math.pi * f * at)[None] for f in (200, 3000))
    y = narrow_band(low + high, 0.25, draws(1), m, 1.0)  # up to 1,000 Hz
    assert float((y - low)[:, 100:-100].abs().max()) < 0.01  # a tone cut off at the ends is not one tone
    constant = torch.full((1, 4000), 0.7)
    assert torch.allclose(narrow_band(constant, 0.1, draws(1), m, 1.0), constant, atol=1e-6)


def test_a_skewed_clock_reads_a_ramp_faster_or_slower() -> None:
    ramp = torch.arange(101.0).expand(30, -1).contiguous()
    y = clock_skew(ramp, 0.1, draws(30), Series(length=101, channels=("a",)), 1.0)
    at = torch.arange(101.0)
    fast, slower = (at * 1.1).clamp(max=100), at * 0.9
    kinds = [torch.allclose(v, fast, atol=1e-4) or -torch.allclose(v, slower, atol=1e-4) for v in y]
    assert set(kinds) == {True, -1}
    both = clock_skew(torch.stack([ramp, -ramp], dim=2), 0.1, draws(30), Series(length=101, channels=("a", "b")), 1.0)
    assert torch.allclose(both[..., 0], y)
    assert torch.allclose(both[..., 1], -y)


def test_a_drift_reaches_its_size_and_is_slow() -> None:
    curve = drift(draws(20), 200, 3)
    assert curve.shape == (20, 200, 3)
    assert torch.allclose(curve.abs().amax(dim=1), torch.ones(()), atol=0.02)
    assert float(curve.diff(dim=1).abs().max()) < 0.06


def test_lost_packets_come_in_bursts() -> None:
    m = Audio(rate=1000, length=20 * 300)
    lost = next(p for p in of_kind("audio") if p.name == "packet_loss")(torch.ones(50, 6000), 3, draws(50), m)
    gone = (lost.view(50, 300, 20) == 0).all(dim=2)
    assert torch.equal(gone, (lost.view(50, 300, 20) == 0).any(dim=2)), "half a packet"
    after = gone[:, 1:][gone[:, :-1]].float().mean()
    assert float(gone.float().mean()) == pytest.approx(0.2, abs=0.02)
    assert float(after) > 0.4, "a packet after a lost one is lost no more often than any"


def of(kind: str, name: str, x: torch.Tensor, severity: int) -> torch.Tensor:
    found = next(p for p in of_kind(kind) if p.name == name)
    changed: torch.Tensor = found(x, severity, draws(len(x), name), SIGNALS[kind])
    return changed


def test_series_faults_do_what_they_say() -> None:
    x = torch.rand(40, 60, 3, generator=torch.Generator().manual_seed(7)) + 1
    half = of("series", "stuck_sensor", x, 3)  # 60 % of the steps
    stuck = (half != x).any(dim=1)
    assert torch.equal(half[:, :24], x[:, :24])
    assert bool((half[:, 24:] == x[:, 23:24]).all(dim=1)[stuck].all())
    exchanged = of("series", "channel_swap", x, 5)
    assert torch.allclose(exchanged.sort(dim=2).values, x.sort(dim=2).values)
    off = (of("series", "spikes", x, 5) - x) / x.std(dim=1, keepdim=True, correction=0)
    assert torch.allclose(off[off != 0].abs(), torch.tensor(5.0), atol=1e-3)
    assert float((off != 0).float().mean()) == pytest.approx(0.1, abs=0.01)
    ratio = of("series", "unit_error", x, 2) / x
    assert set(ratio.unique().tolist()) == {-1.0, 1.0}


def test_table_faults_do_what_they_say() -> None:
    x = torch.rand(40, 20, generator=torch.Generator().manual_seed(8)) + 1
    assert ((of("tabular", "unit_error", x, 4) / x).round().sum(dim=1) == 1019).all()
    fahrenheit = of("tabular", "affine_unit", x, 5)
    hot = fahrenheit != x
    assert (hot.sum(dim=1) == 8).all()
    assert torch.allclose(fahrenheit[hot], 1.8 * x[hot] + 32)
    swapped = of("tabular", "swapped_columns", x, 5)
    assert torch.equal(swapped.sort(dim=1).values, x.sort(dim=1).values)
    assert ((swapped != x).sum(dim=1) == 8).all()
    kept = torch.tensor([[5.3, -0.011, 0.0, 96.0] * 5])
    assert of("tabular", "rounding", kept, 4)[0, :4].tolist() == pytest.approx([6, -0.01171875, 0, 96])
    off = of("tabular", "outlier", x, 4) - x
    assert torch.allclose(off.abs().sum(dim=1), 10 * x.amax(dim=1), rtol=1e-4)


def test_what_needs_two_says_so() -> None:
    for kind, name, m in (
        ("series", "channel_swap", Series(length=9, channels=("a",))),
        ("tabular", "swapped_columns", Tabular(columns=("a",))),
        ("audio", "mains_hum", Audio(rate=100, length=9)),
    ):
        p = next(p for p in of_kind(kind) if p.name == name)
        with pytest.raises(NotApplicable):
            p(torch.ones(1, *m.blank().shape), 1, draws(1), m)
