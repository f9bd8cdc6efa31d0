"""Picture perturbations beside imagecorruptions (imaug's), on photographs and on easy-VQA's pictures, at scale 1.

What is random is compared with the same draws put into both, so that pictures agree pixel by pixel, or by moments.
imagecorruptions cuts its result off to bytes, so 1/255 is no difference. Its constants are the card's for all but
elastic: there the card has ImageNet-C's of 244 pixels (an affine map and displacements, both large at severity 1 and
2), imagecorruptions ones of its own (displacements alone), so elastic is compared by what it keeps.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor

from muroan.data.easy_vqa import easy_vqa
from muroan.interventions.perturbations import SEVERITIES, Draws, Perturbation, of_kind
from muroan.interventions.perturbations.blur import trails
from muroan.interventions.perturbations.filters import convolve
from muroan.interventions.perturbations.tools import opened
from muroan.interventions.perturbations.weather import cells
from muroan.modality import Image
from muroan.randomness import sample_keys

BYTE = 1 / 255 + 1e-4
NAMES = {"jpeg": "jpeg_compression", "elastic": "elastic_transform"}
OURS = {p.name: p for p in of_kind("image")}


@pytest.fixture(scope="module", autouse=True)
def theirs() -> Iterator[Any]:
    """The module of imagecorruptions; NumPy's global generator, which it draws from, is left as it was."""
    state = np.random.get_state()  # noqa: NPY002
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        corruptions = importlib.import_module("imagecorruptions.corruptions")
        np.random.seed(0)  # noqa: NPY002
        yield corruptions
    np.random.set_state(state)  # noqa: NPY002


@pytest.fixture(scope="module", params=["photographs", "easy-vqa"])
def some(request: pytest.FixtureRequest) -> np.ndarray:
    """Bytes [N, H, W, 3]: eight crops of 224 pixels of two photographs, or twelve pictures of 64."""
    if request.param == "easy-vqa":
        values, _ = easy_vqa().audited.load(list(range(0, 120, 10))).batch.unique("image")
        return (values * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    photographs = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    return np.stack([p[25 * k : 25 * k + 224, 50 * k : 50 * k + 224] for k in range(4) for p in photographs])


def tensor(pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float().div(255).contiguous()


def draws(n: int) -> Draws:
    return Draws(sample_keys([str(i) for i in range(n)], "reference"))


def both(
    name: str, some: np.ndarray, severity: int, module: Any, fed: Callable[[int], None] = lambda i: None
) -> tuple[Tensor, Tensor]:
    """The pictures by Muroan and by imagecorruptions; `fed(i)` prepares its draws for picture i."""
    from imagecorruptions import corrupt

    perturbation: Perturbation = OURS[name]
    if perturbation.wants == "frost":
        spec = importlib.util.find_spec("imagecorruptions")
        assert spec is not None
        perturbation = perturbation.having(opened("frost", str(Path(str(spec.origin)).parent / "frost")))
    x = tensor(some)
    ours = perturbation(x, severity, draws(len(x)), Image(size=(x.shape[2], x.shape[3])))
    found = []
    for i, picture in enumerate(some):
        fed(i)
        # These two draw from generators of their own.
        seed = {"seed": i} if name in ("glass_blur", "impulse_noise") else {}
        found.append(corrupt(picture, severity, NAMES.get(name, name), **seed))
    return ours, tensor(np.stack(found))


# What is not random.


@pytest.mark.parametrize(
    ("name", "largest", "mean"),
    [
        ("brightness", BYTE, 0.003),
        ("contrast", BYTE, 0.003),
        ("pixelate", BYTE, 0.003),
        ("jpeg", 1e-6, 1e-6),
        # A disk by area, and weights of one in sum: imagecorruptions' weigh up to 1.013 at radius 8, where its disk
        # touches the border of its kernel.
        ("defocus_blur", 0.04, 0.011),
        # Zooms about the exact middle, where imagecorruptions crops whole pixels: edges lie up to a pixel apart.
        ("zoom_blur", 0.5, 0.012),
    ],
)
def test_what_is_not_random_agrees_pixel_by_pixel(
    name: str, largest: float, mean: float, some: np.ndarray, theirs: Any
) -> None:
    for severity in SEVERITIES:
        ours, other = both(name, some, severity, theirs)
        apart = (ours - other).abs()
        assert float(apart.max()) <= largest, severity
        assert float(apart.mean()) <= mean, severity


def test_motion_blur_at_a_fixed_angle_agrees(some: np.ndarray, theirs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Along rows all but exactly; else a tap between pixels is another than one rounded to the next."""
    x = tensor(some)
    turn = np.degrees((draws(len(some)).uniform("angle").double().numpy() - 0.5) * math.pi / 2)

    def fed(i: int) -> None:
        monkeypatch.setattr(np.random, "uniform", lambda low, high: turn[i])

    for severity, (radius, sigma) in zip(SEVERITIES, OURS["motion_blur"].levels, strict=True):
        along = convolve(x[:2], *trails(torch.zeros(2), radius, sigma, 1.0), "replicate")
        exact = [theirs._motion_blur(p.astype(np.float32), radius=radius, sigma=sigma, angle=0.0) for p in some[:2]]
        assert float((along - tensor(np.stack(exact))).abs().max()) <= 2e-5
        ours, other = both("motion_blur", some, severity, theirs, fed)
        assert float((ours - other).abs().mean()) <= 0.015


# What is random, with the same draws.


@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise"])
def test_noise_of_the_same_draws_agrees(
    name: str, some: np.ndarray, theirs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = draws(len(some)).normal("noise", 3, *some.shape[1:3]).permute(0, 2, 3, 1).double().numpy()
    for severity in SEVERITIES:

        def fed(i: int) -> None:
            monkeypatch.setattr(np.random, "normal", lambda size, scale: noise[i] * scale)

        ours, other = both(name, some, severity, theirs, fed)
        assert float((ours - other).abs().max()) <= BYTE


def test_fog_of_the_same_clouds_agrees(some: np.ndarray, theirs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 2 ** math.ceil(math.log2(some.shape[1]))
    noise = (2 * draws(len(some)).uniform("clouds", size, size) - 1).double().numpy()

    def fed(i: int) -> None:
        def parts() -> Iterator[np.ndarray]:
            step = size
            while step >= 2:
                half = step // 2
                yield from (noise[i, a::step, b::step] for a, b in ((half, half), (0, half), (half, 0)))
                step = half

        known = parts()
        monkeypatch.setattr(np.random, "uniform", lambda low, high, shape: high * next(known))

    for severity in SEVERITIES:
        ours, other = both("fog", some, severity, theirs, fed)
        assert float((ours - other).abs().max()) <= BYTE


def test_frost_of_the_same_cuts_agrees(some: np.ndarray, theirs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    known = draws(len(some))
    which, top, left = (known.uniform(purpose) for purpose in ("texture", "top", "left"))

    def fed(i: int) -> None:
        shares = iter((which[i], top[i], left[i]))
        monkeypatch.setattr(
            np.random, "randint", lambda low, high=None: int(float(next(shares)) * (low if high is None else high))
        )

    for severity in SEVERITIES:
        ours, other = both("frost", some, severity, theirs, fed)
        apart = (ours - other).abs()
        assert float(apart.max()) <= 0.06  # two readers of JPEG, two bicubic filters
        assert float(apart.mean()) <= 0.006


def test_snow_of_the_same_flakes_agrees(some: np.ndarray, theirs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    side = some.shape[1]
    known = draws(len(some))
    few = cells(side, 2.0)
    noise = known.normal("flakes", few, few).double().numpy()
    turn = np.degrees((known.uniform("angle").double().numpy() - 0.5) * math.pi / 2)
    for severity in SEVERITIES:
        used = cells(side, OURS["snow"].levels[severity - 1][2])
        kept, place = (slice((most - used) // 2, (most - used) // 2 + used) for most in (few, side))
        layers = np.zeros((len(some), side, side))
        layers[:, place, place] = noise[:, kept, kept]

        def fed(i: int, layers: np.ndarray = layers) -> None:
            monkeypatch.setattr(np.random, "normal", lambda size, loc, scale: loc + scale * layers[i])
            monkeypatch.setattr(np.random, "uniform", lambda low, high: -90 + turn[i])

        ours, other = both("snow", some, severity, theirs, fed)
        apart = (ours - other).abs()
        assert float(apart.mean()) <= 0.02  # taps of the trail between pixels against rounded ones


# What is random, by moments.


@pytest.mark.parametrize(
    ("name", "of_change", "of_variance"),
    [
        ("shot_noise", 0.03, 0.03),
        ("impulse_noise", 0.05, 0.03),
        # Pixels are moved at once instead of swapped one after another, where most come to lie near and some afar.
        ("glass_blur", 0.16, 0.15),
    ],
)
def test_moments_agree(name: str, of_change: float, of_variance: float, some: np.ndarray, theirs: Any) -> None:
    x = tensor(some)
    for severity in SEVERITIES:
        ours, other = both(name, some, severity, theirs)
        change, wanted = (float((y - x).abs().mean()) for y in (ours, other))
        assert float(ours.mean()) == pytest.approx(float(other.mean()), abs=0.012), severity
        assert float(ours.var()) == pytest.approx(float(other.var()), rel=of_variance), severity
        assert change == pytest.approx(wanted, rel=of_change), severity


def test_elastic_keeps_brightness_as_theirs_does_and_bends_more(some: np.ndarray, theirs: Any) -> None:
    x = tensor(some)
    for severity in SEVERITIES:
        ours, other = both("elastic", some, severity, theirs)
        assert float(ours.mean()) == pytest.approx(float(other.mean()), abs=0.02)
        if severity <= 2:
            assert float((ours - x).abs().mean()) > 1.2 * float((other - x).abs().mean())
