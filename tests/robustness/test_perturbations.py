"""Perturbations: the published constants, ranges, repeatability, independence of the batch, and oracles."""

import colorsys
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pictures

from muroan.data.easy_vqa import LEXICON, easy_vqa
from muroan.errors import NotApplicable
from muroan.modality import Image, Text
from muroan.randomness import sample_keys
from muroan.robustness.distribution_shift.perturbations import SEVERITIES, TABLE, Draws, of_kind
from muroan.robustness.distribution_shift.perturbations import image as pictures
from muroan.robustness.distribution_shift.perturbations import text as texts

IMAGE = {p.name: p for p in of_kind("image")}
TEXT = {p.name: p for p in of_kind("text") if p.wants is None}
KNOWING = Text(lexicon=LEXICON)
QUESTIONS = [
    "what shape is in the image?",
    "is there not a red circle in the image?",
    "what color is the shape?",
    "does the image contain a gray triangle?",
    "yes",
]


def draws(n: int, *purpose: object) -> Draws:
    return Draws(sample_keys([str(i) for i in range(n)], *purpose))


def modality(x: torch.Tensor) -> Image:
    return Image(size=(x.shape[2], x.shape[3]), channels=x.shape[1])


@pytest.fixture(scope="module")
def real() -> torch.Tensor:
    """24 pictures of easy-VQA's test split."""
    values, _ = easy_vqa().audited.load(list(range(0, 240, 10))).batch.unique("image")
    return values


def test_constants_are_the_published_ones() -> None:
    wanted = {
        "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
        "shot_noise": (60, 25, 12, 5, 3),
        "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
        "speckle_noise": (0.15, 0.2, 0.35, 0.45, 0.6),
        "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
        "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
        "jpeg": (25, 18, 15, 10, 7),
    }
    assert {n: IMAGE[n].levels for n in wanted} == wanted
    assert set(IMAGE) == set(wanted) | {"elastic"}
    assert all(p.levels == (0.05, 0.1, 0.15, 0.2, 0.25) for p in TEXT.values())
    assert len(TEXT) == 11


def test_names_are_distinct_within_a_kind() -> None:
    assert max(Counter((p.kind, p.name) for p in TABLE).values()) == 1


@pytest.mark.parametrize("name", IMAGE)
@pytest.mark.parametrize("scale", [64 / 224, 1.0])
def test_a_picture_keeps_shape_dtype_and_range(name: str, scale: float, real: torch.Tensor) -> None:
    x = real[:6]
    before, kept = x.clone(), draws(6, name)
    for severity in SEVERITIES:
        y = IMAGE[name](x, severity, kept, modality(x), scale=scale)
        assert y.shape == x.shape
        assert y.dtype == x.dtype
        assert bool(torch.isfinite(y).all())
        assert float(y.min()) >= 0
        assert float(y.max()) <= 1
        assert float((y - x).abs().mean()) > 0
    assert torch.equal(x, before), "writes into its input"
    assert IMAGE[name](x, 0, kept, modality(x)) is x


@pytest.mark.parametrize("name", IMAGE)
@pytest.mark.parametrize("shape", [(1, 5, 9), (3, 33, 20), (4, 16, 16), (3, 1, 1), (3, 224, 224)])
def test_any_size_and_number_of_channels(name: str, shape: tuple[int, int, int]) -> None:
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    for scale in {1.0, min(shape[1:]) / 224}:
        y = IMAGE[name](x, 5, draws(2, name), modality(x), scale=scale)
        assert y.shape == x.shape
        assert bool(torch.isfinite(y).all())
        assert float(y.min()) >= 0
        assert float(y.max()) <= 1


@pytest.mark.parametrize("name", IMAGE)
def test_a_picture_gets_the_same_change_alone_and_in_any_batch(name: str, real: torch.Tensor) -> None:
    x, keys = real[:7], sample_keys([str(i) for i in range(7)], name)
    for severity in (1, 5):
        together = IMAGE[name](x, severity, Draws(keys), modality(x), scale=0.3)
        again = IMAGE[name](x, severity, Draws(keys), modality(x), scale=0.3)
        assert torch.equal(together, again)
        order = torch.tensor([4, 0, 6])
        some = IMAGE[name](x[order], severity, Draws(keys[order.numpy()]), modality(x), scale=0.3)
        assert torch.allclose(some, together[order], atol=2e-6)
        other = IMAGE[name](x, severity, Draws(keys ^ np.uint64(1)), modality(x), scale=0.3)
        random = name not in ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg")
        assert torch.equal(other, together) != random


MONOTONE = [
    *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    *("defocus_blur", "motion_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg"),
]


@pytest.mark.parametrize("name", MONOTONE)
@pytest.mark.parametrize("scale", [64 / 224, 1.0])
def test_a_higher_severity_changes_real_pictures_more(name: str, scale: float, real: torch.Tensor) -> None:
    kept = draws(len(real), name)
    change = [float((IMAGE[name](real, s, kept, modality(real), scale=scale) - real).abs().mean()) for s in SEVERITIES]
    assert change == sorted(change)
    assert change[0] < change[-1]


# Oracles.


def test_noise_has_the_stated_size() -> None:
    grey = torch.full((40, 3, 32, 32), 0.5)
    m = modality(grey)
    assert float((IMAGE["gaussian_noise"](grey, 1, draws(40), m) - 0.5).std()) == pytest.approx(0.08, rel=0.02)
    assert float((IMAGE["speckle_noise"](grey, 1, draws(40), m) - 0.5).std()) == pytest.approx(0.075, rel=0.02)
    hit = IMAGE["impulse_noise"](grey, 5, draws(40), m)
    assert float((hit != 0.5).float().mean()) == pytest.approx(0.27, abs=0.005)
    assert float((hit == 1).float().mean()) == pytest.approx(0.135, abs=0.005)


@pytest.mark.parametrize("light", [0.0, 0.1, 1 / 3, 0.5])
def test_shot_noise_counts_photons_as_poisson_does(light: float) -> None:
    from scipy.stats import poisson

    x = torch.full((50, 3, 32, 32), light)
    photons = (IMAGE["shot_noise"](x, 4, draws(50), modality(x)) * 5).round().flatten().numpy()
    rate = round(light * 1020) / 1020 * 5
    for k in range(5):  # 5 photons and more are clipped to white
        assert (photons == k).mean() == pytest.approx(poisson.pmf(k, rate), abs=0.006)


def test_pixelate_is_what_pillow_does_with_boxes(real: torch.Tensor) -> None:
    for severity, share in zip(SEVERITIES, (0.6, 0.5, 0.4, 0.3, 0.25), strict=True):
        ours = IMAGE["pixelate"](real[:4], severity, draws(4), modality(real))
        for x, y in zip(real[:4], ours, strict=True):
            small = Pictures.fromarray((x.permute(1, 2, 0) * 255).round().byte().numpy())
            small = small.resize((int(64 * share),) * 2, Pictures.Resampling.BOX)
            theirs = np.asarray(small.resize((64, 64), Pictures.Resampling.BOX)) / 255
            assert np.abs(theirs - y.permute(1, 2, 0).numpy()).max() < 0.006  # Pillow rounds to bytes


def test_brightness_adds_to_the_value_of_hsv() -> None:
    x = torch.rand(1, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    x[0, :, 0, 0] = 0.0
    y = IMAGE["brightness"](x, 3, draws(1), modality(x))
    for before, after in zip(x[0].flatten(1).T.tolist(), y[0].flatten(1).T.tolist(), strict=True):
        h, s, v = colorsys.rgb_to_hsv(*before)
        assert after == pytest.approx(colorsys.hsv_to_rgb(h, s, min(v + 0.3, 1.0)), abs=1e-5)


def test_contrast_keeps_each_channels_mean(real: torch.Tensor) -> None:
    y = IMAGE["contrast"](real, 5, draws(len(real)), modality(real))
    assert torch.allclose(y.mean(dim=(2, 3)), real.mean(dim=(2, 3)), atol=1e-5)
    assert torch.allclose(y.std(dim=(2, 3)), 0.05 * real.std(dim=(2, 3)), atol=1e-5)


def test_jpeg_is_pillows(real: torch.Tensor, tmp_path) -> None:
    ours = IMAGE["jpeg"](real[:2], 5, draws(2), modality(real))
    for i in range(2):
        file = tmp_path / f"{i}.jpg"
        Pictures.fromarray((real[i].permute(1, 2, 0) * 255).round().byte().numpy()).save(file, quality=7)
        assert np.array_equal(np.asarray(Pictures.open(file)), (ours[i].permute(1, 2, 0) * 255).round().byte().numpy())


@pytest.mark.parametrize("name", ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "elastic", "pixelate"])
def test_a_plain_picture_stays_plain(name: str) -> None:
    plain = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(2, 3, 40, 30).contiguous()
    for severity in SEVERITIES:
        y = IMAGE[name](plain, severity, draws(2), modality(plain), scale=0.5)
        assert torch.allclose(y, plain, atol=1e-5)


def test_blur_kernels_weigh_one_and_have_their_size() -> None:
    for radius, sigma in IMAGE["defocus_blur"].levels:
        kernel = pictures.disk(radius, sigma)[0]
        assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
        # The area that the disk covers: its height at the middle is one over its area.
        middle = float(kernel[len(kernel) // 2, len(kernel) // 2])
        assert middle == pytest.approx(1 / (np.pi * radius**2), rel=0.03)
    for radius, sigma in IMAGE["motion_blur"].levels:
        kernels = pictures.streaks(torch.tensor([0.0, 0.7]), radius, sigma, 1.0)
        assert torch.allclose(kernels.sum(dim=(1, 2)), torch.ones(2), atol=1e-5)
        line = kernels[0, kernels.shape[1] // 2]
        assert int((line > 0).sum()) == 2 * radius + 1  # an undirected streak lies on one row, tap by tap
        taps = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
        assert np.allclose(line[line > 0].numpy(), taps / taps.sum(), atol=1e-6)


def test_convolution_is_the_one_of_scipy() -> None:
    from scipy.ndimage import convolve

    x = torch.rand(2, 3, 17, 23, generator=torch.Generator().manual_seed(2))
    kernels = torch.rand(2, 7, 7, generator=torch.Generator().manual_seed(3))
    ours = pictures.convolve(x, kernels)
    for i in range(2):
        for c in range(3):
            assert np.allclose(ours[i, c], convolve(x[i, c].numpy(), kernels[i].numpy(), mode="mirror"), atol=1e-4)


def test_zoom_keeps_the_middle_and_enlarges() -> None:
    x = torch.zeros(1, 1, 33, 33)
    x[..., 15:18, 15:18] = 1.0
    y = IMAGE["zoom_blur"](x, 5, draws(1), modality(x))
    assert float(y[0, 0, 16, 16]) == pytest.approx(1.0)
    assert float(y.sum()) > float(x.sum())
    assert torch.allclose(y, y.flip(2), atol=1e-6)
    assert torch.allclose(y, y.transpose(2, 3), atol=1e-6)


def test_clouds_cover_their_range_and_get_rougher_with_less_decay() -> None:
    smooth, rough = pictures.plasma(draws(8), 64, 3.0), pictures.plasma(draws(8), 64, 1.4)
    for clouds in (smooth, rough):
        assert torch.equal(clouds.amin(dim=(1, 2)), torch.zeros(8))
        assert torch.equal(clouds.amax(dim=(1, 2)), torch.ones(8))
    step = [float((c - c.roll(1, 1)).abs().mean()) for c in (smooth, rough)]
    assert step[0] < step[1]


def test_scaled_lengths_hide_the_same_share_of_a_small_picture(real: torch.Tensor) -> None:
    """A picture of half the size, blurred at half the scale, is the blurred picture at half the size."""
    large = torch.nn.functional.interpolate(real[:4], scale_factor=2, mode="bilinear", align_corners=False)
    blurred = IMAGE["defocus_blur"](large, 3, draws(4), modality(large), scale=1.0)
    half = torch.nn.functional.avg_pool2d(blurred, 2)
    small = IMAGE["defocus_blur"](torch.nn.functional.avg_pool2d(large, 2), 3, draws(4), modality(real), scale=0.5)
    unscaled = IMAGE["defocus_blur"](torch.nn.functional.avg_pool2d(large, 2), 3, draws(4), modality(real), scale=1.0)
    assert float((half - small).abs().mean()) < 0.15 * float((half - unscaled).abs().mean())


# Texts.


def changed(name: str, values: list[str], severity: int, seed: object = 0) -> list[str]:
    return TEXT[name](values, severity, Draws(sample_keys(values, seed)), KNOWING)


@pytest.mark.parametrize("name", TEXT)
def test_a_text_gets_the_same_change_alone_and_in_any_batch(name: str) -> None:
    longer = [*QUESTIONS, " ".join(QUESTIONS * 3)]
    for severity in SEVERITIES:
        together = changed(name, longer, severity)
        assert together == changed(name, longer, severity)
        assert [changed(name, [t], severity)[0] for t in longer] == together
    assert changed(name, longer, 0) is longer
    many = [changed(name, [longer[1]], 3, seed)[0] for seed in range(20)]
    assert len(set(many)) > 1


@pytest.mark.parametrize("name", TEXT)
def test_every_question_of_several_words_is_touched_at_every_severity(name: str) -> None:
    values = QUESTIONS[:4]
    for severity in SEVERITIES:
        assert all(a != b for a, b in zip(values, changed(name, values, severity), strict=True))


@pytest.mark.parametrize("name", [n for n, p in TEXT.items() if p.family == "character"])
def test_a_higher_severity_touches_the_same_words_and_more(name: str) -> None:
    text = " ".join(QUESTIONS[:4] * 4)
    words = text.split()
    touched: set[int] = set()
    for severity in SEVERITIES:
        now = {
            i for i, (a, b) in enumerate(zip(words, changed(name, [text], severity)[0].split(), strict=True)) if a != b
        }
        assert touched <= now
        assert len(now) == pytest.approx(0.05 * severity * len(words), abs=1)
        touched = now


def test_how_many_words_of_a_short_text() -> None:
    u = (np.arange(1000) + 0.5) / 1000
    for severity, mean in zip(SEVERITIES, (1.0, 1.0, 1.0, 1.2, 1.5), strict=True):
        assert np.mean([texts.count(0.05 * severity, 6, r) for r in u]) == pytest.approx(mean, abs=0.002)


def test_keys_of_the_keyboard_touch() -> None:
    assert set(texts.KEYBOARD["g"]) == set("ftyhbv")
    assert set(texts.KEYBOARD["q"]) == set("wa")
    assert all(a in texts.KEYBOARD[b] for a, near in texts.KEYBOARD.items() for b in near)


def test_word_changes_do_what_they_say() -> None:
    values = [*QUESTIONS[:4], " ".join(QUESTIONS[:4])]
    for severity in SEVERITIES:
        for a, b in zip(values, changed("word_swap", values, severity), strict=True):
            assert sorted(a.split()) == sorted(b.split())
        for a, b in zip(values, changed("word_delete", values, severity), strict=True):
            assert 0 < len(b.split()) < len(a.split())
            assert not Counter(b.split()) - Counter(a.split())
        for a, b in zip(values, changed("word_insert", values, severity), strict=True):
            added = Counter(b.split()) - Counter(a.split())
            assert Counter(a.split()) == Counter(b.split()) - added
            assert added.total() == len(b.split()) - len(a.split()) > 0
            # As EDA: synonyms of the text's words; of a text without one, its words a second time.
            alike = {o for w in a.split() for o in dict(LEXICON).get(w.strip("?"), ())}
            assert set(added) <= (alike or set(a.split()))
        unknown = TEXT["word_insert"](values, severity, Draws(sample_keys(values, 0)), Text())
        assert all(set(b.split()) == set(a.split()) for a, b in zip(values, unknown, strict=True))
        for a, b in zip(values, changed("punctuation", values, severity), strict=True):
            extra = Counter(b.split()) - Counter(a.split())
            assert set(extra) <= set(texts.MARKS)
            assert 1 <= extra.total() <= np.ceil(0.05 * severity * len(a.split()))
        known = {w: set(o) for w, o in LEXICON}
        for a, b in zip(values, changed("word_synonym", values, severity), strict=True):
            for old, new in zip(a.split(), b.split(), strict=True):
                assert old == new or new.strip("?") in known[old.strip("?")]


def test_synonyms_need_a_lexicon() -> None:
    with pytest.raises(NotApplicable, match="lexicon"):
        TEXT["word_synonym"](["a"], 1, draws(1), Text())
    assert TEXT["word_synonym"].fits(KNOWING) is None


@pytest.mark.parametrize("name", TEXT)
@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.text(max_size=30), min_size=1, max_size=4), severity=st.sampled_from(SEVERITIES))
def test_any_text_at_all(name: str, values: list[str], severity: int) -> None:
    found = TEXT[name](values, severity, draws(len(values)), KNOWING)
    assert len(found) == len(values)
    for before, after in zip(values, found, strict=True):
        assert isinstance(after, str)
        assert bool(after.strip()) == bool(before.strip()) or not before.split()
