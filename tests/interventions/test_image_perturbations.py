"""Picture perturbations: the published constants, ranges, repeatability, independence of the batch, and oracles."""

import colorsys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pictures

from muroan.data.easy_vqa import easy_vqa
from muroan.errors import AskedWrongly, NotApplicable
from muroan.interventions.perturbations import SEVERITIES, Draws, blur, filters, of_kind, weather
from muroan.interventions.perturbations.textures import Textures, open_textures
from muroan.interventions.perturbations.tools import opened
from muroan.modality import Image
from muroan.randomness import sample_keys


def tinted(x: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
    """A style: pictures half as bright, over a colour of the seed's."""
    colours = torch.stack([seeds % 7, seeds % 11, seeds % 13, seeds % 5], dim=1)[:, : x.shape[1]] / 26
    return 0.5 * x + colours[..., None, None]


def some_textures() -> Textures:
    g = torch.Generator().manual_seed(5)
    sizes = ((40, 60), (90, 70), (64, 64))
    return Textures(tuple(torch.randint(0, 256, (3, *size), generator=g, dtype=torch.uint8) for size in sizes))


TOOLS = {"frost": some_textures(), "stylize": tinted}
IMAGE = {p.name: p if p.wants is None else p.having(TOOLS[p.wants]) for p in of_kind("image")}


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
        "snow": (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
        "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
        "jpeg": (25, 18, 15, 10, 7),
    }
    smooth, small = 244 * 0.01, 244 * 0.02
    wanted["elastic"] = (
        *((488, 244 * 0.7, 24.4), (488, 244 * 0.08, 48.8)),
        *((244 * 0.05, smooth, small), (244 * 0.07, smooth, small), (244 * 0.12, smooth, small)),
    )
    wanted["stylize"] = (1.0,)
    for name, levels in wanted.items():
        for found, level in zip(IMAGE[name].levels, levels, strict=True):
            assert found == pytest.approx(level, abs=1e-12), name
    groups = {
        "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
        "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
        "weather": ("snow", "frost", "fog", "brightness"),
        "digital": ("contrast", "elastic", "pixelate", "jpeg"),
        "style": ("stylize",),
    }
    assert [(p.name, p.family) for p in IMAGE.values()] == [(n, g) for g, names in groups.items() for n in names]


@pytest.mark.parametrize("name", IMAGE)
@pytest.mark.parametrize("scale", [64 / 224, 1.0])
def test_a_picture_keeps_shape_dtype_and_range(name: str, scale: float, real: torch.Tensor) -> None:
    x = real[:6]
    before, kept = x.clone(), draws(6, name)
    for severity in IMAGE[name].severities:
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
        y = IMAGE[name](x, IMAGE[name].severities[-1], draws(2, name), modality(x), scale=scale)
        assert y.shape == x.shape
        assert bool(torch.isfinite(y).all())
        assert float(y.min()) >= 0
        assert float(y.max()) <= 1


@pytest.mark.parametrize("name", IMAGE)
def test_a_picture_gets_the_same_change_alone_and_in_any_batch(name: str, real: torch.Tensor) -> None:
    x, keys = real[:7], sample_keys([str(i) for i in range(7)], name)
    for severity in {1, IMAGE[name].severities[-1]}:
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
        kernel = blur.disk(radius, sigma)[0]
        assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
        # The area that the disk covers: its height at the middle is one over its area.
        middle = float(kernel[len(kernel) // 2, len(kernel) // 2])
        assert middle == pytest.approx(1 / (np.pi * radius**2), rel=0.03)
    for radius, sigma in IMAGE["motion_blur"].levels:
        kernels, (row, column) = blur.trails(torch.tensor([0.0, 0.7]), radius, sigma, 1.0)
        assert torch.allclose(kernels.sum(dim=(1, 2)), torch.ones(2), atol=1e-5)
        line = kernels[0, row]
        assert int((kernels[0] > 0).sum()) == int((line > 0).sum()) == 2 * radius + 1  # on one row, tap by tap
        taps = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
        assert np.allclose(line[: column + 1].flip(0)[: 2 * radius + 1].numpy(), taps / taps.sum(), atol=1e-6)
        assert float(kernels[1, :row].sum()) > 0.5  # turned up


def test_convolution_is_the_one_of_scipy() -> None:
    from scipy.ndimage import convolve

    x = torch.rand(2, 3, 17, 23, generator=torch.Generator().manual_seed(2))
    kernels = torch.rand(2, 7, 7, generator=torch.Generator().manual_seed(3))
    ours = filters.convolve(x, kernels)
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


def test_kernels_may_lie_aside_of_their_origin_and_borders_go_on() -> None:
    from scipy.ndimage import convolve

    x = torch.rand(5, 2, 12, 9, generator=torch.Generator().manual_seed(2))
    kernels = torch.rand(5, 7, 4, generator=torch.Generator().manual_seed(3))
    ours = filters.convolve(x, kernels, (1, 3), border="replicate")
    for i in range(5):
        theirs = convolve(x[i, 1].numpy(), kernels[i].numpy(), mode="nearest", origin=(1 - 3, 3 - 2))
        assert np.allclose(ours[i, 1], theirs, atol=1e-4)


def test_maps_of_lines_in_strips_are_the_matrix() -> None:
    from scipy.ndimage import gaussian_filter

    x = torch.rand(3, 2, 150, 130, generator=torch.Generator().manual_seed(4))
    for sigma in (0.7, 2.0, 60.0):
        ours = filters.smoothed(x, sigma)
        theirs = gaussian_filter(x.numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=4.0)
        assert np.allclose(ours.numpy(), theirs, atol=1e-5)


def test_clouds_cover_their_range_and_get_rougher_with_less_decay() -> None:
    noise = 2 * draws(8).uniform("clouds", 64, 64) - 1
    smooth, rough = weather.plasma(noise, 3.0), weather.plasma(noise, 1.4)
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


# Snow, frost, style.


def test_snow_whitens_and_its_flakes_scale_with_the_picture() -> None:
    """On black: a layer of flakes over what `pale` makes of black, half white where it is most pale."""
    level = IMAGE["snow"].levels[2]
    white = []
    for side in (224, 112, 56):
        x = torch.zeros(12, 3, side, side)
        y = IMAGE["snow"](x, 3, draws(12, "snow"), modality(x), scale=side / 224)
        assert torch.equal(y[:, 0], y[:, 2])  # flakes are white
        base = (1 - level[-1]) * 0.5
        assert float(y.min()) == pytest.approx(base, abs=1e-5)
        white.append(float((y - base).mean()))
        edge = float((y[..., 1:] - y[..., :-1]).abs().mean()) * side / 224
        white.append(edge)
    # The same share of a small picture is snowed over, and a flake is as large a part of it, less what averaging takes.
    assert white[2] == pytest.approx(white[0], rel=0.1)
    assert white[4] == pytest.approx(white[0], rel=0.1)
    assert white[3] == pytest.approx(white[1], rel=0.35)
    x = torch.ones(2, 3, 16, 16)
    assert torch.equal(IMAGE["snow"](x, 1, draws(2), modality(x)), x)


def test_frost_mixes_a_cut_of_a_texture() -> None:
    """Of one texture of two halves, at scale 1: every pixel is one of two mixtures."""
    texture = torch.zeros(3, 100, 80, dtype=torch.uint8)
    texture[:, :, 40:] = 200
    frosted = next(p for p in of_kind("image") if p.name == "frost").having(Textures((texture,)))
    x = torch.full((40, 3, 30, 30), 0.3)
    y = frosted(x, 2, draws(40), modality(x))
    dark, light = 0.8 * 0.3, 0.8 * 0.3 + 0.6 * 200 / 255
    near = torch.minimum((y - dark).abs(), (y - light).abs()) < 0.03  # bicubic drawing overshoots at the edge
    assert float(near.float().mean()) > 0.9
    shares = (y > (dark + light) / 2).float().mean(dim=(1, 2, 3))
    assert float(shares.min()) < 0.1  # cuts lie all over it
    assert float(shares.max()) > 0.9


def test_textures_are_read_from_a_folder_once_and_cover_any_picture(tmp_path: Path) -> None:
    Pictures.new("RGBA", (50, 20), (10, 20, 30, 0)).save(tmp_path / "b.png")
    Pictures.new("L", (9, 40), 99).save(tmp_path / "a.PNG")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "more").mkdir()
    found = opened("frost", str(tmp_path))
    assert [tuple(p.shape) for p in found.pictures] == [(3, 40, 9), (3, 20, 50)]
    assert found.pictures[1][:, 0, 0].tolist() == [10, 20, 30]
    assert opened("frost", str(tmp_path)) is found
    for size, scale in (((70, 30), 1.0), ((64, 64), 64 / 224), ((1, 1), 1.0), ((300, 7), 2.0)):
        ends = torch.tensor([0.0, 0.49, 0.5, 1.0])
        cut = found.cuts(size, scale, ends, ends, ends)
        assert cut.shape == (4, 3, *size)
        assert [round(float(v) * 255) for v in cut[:, 0].mean(dim=(1, 2))] == [99, 99, 10, 10]


def test_a_folder_without_textures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AskedWrongly, match="no folder"):
        open_textures(str(tmp_path / "none"))
    with pytest.raises(AskedWrongly, match="no picture"):
        open_textures(str(tmp_path))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(AskedWrongly, match=r"broken\.png"):
        open_textures(str(tmp_path))


def test_style_is_the_functions_and_is_checked(real: torch.Tensor) -> None:
    plain = next(p for p in of_kind("image") if p.name == "stylize")
    assert plain.severities == (1,)
    with pytest.raises(NotApplicable, match="stylize is not given"):
        plain(real, 1, draws(len(real)), modality(real))
    seen: list[torch.Tensor] = []

    def kept(x: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        seen.append(seeds)
        return x.mul_(0.5)  # writes into what it gets

    x = real[:5].clone()
    assert torch.equal(plain.having(kept)(x, 1, draws(5), modality(x)), real[:5] / 2)
    assert torch.equal(x, real[:5])
    assert seen[0].dtype == torch.int64
    assert len(seen[0].unique()) == 5
    wrong = {
        "not a tensor": lambda x, seeds: x.numpy(),
        "as many of the same size": lambda x, seeds: x[..., ::2],
        "not finite": lambda x, seeds: x / 0,
        r"pictures are in \[0, 1\]": lambda x, seeds: x * 255,
    }
    for said, function in wrong.items():
        with pytest.raises(AskedWrongly, match=said):
            plain.having(function)(x, 1, draws(5), modality(x))
