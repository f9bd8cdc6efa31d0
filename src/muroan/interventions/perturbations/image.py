"""The seventeen picture perturbations of MM_Robustness (Qiu et al. 2024): ImageNet-C's (Hendrycks and Dietterich
2019) and style transfer.

Pictures are float [N, C, H, W] in [0, 1] of any size. The constants are the published ones, which were chosen for
224×224 pixels. Lengths among them (radii, blur widths, displacements, the size of flakes and textures) are multiplied
by `scale`; with scale = min(H, W) / 224 a corruption hides the same share of a small picture as of a large one, with
scale = 1 the same number of pixels. Noise, zoom, fog, brightness, contrast, pixelate and jpeg have no lengths in
pixels.

Frost wants textures and stylize a function that do not ship and that the user names (`perturbations.tools`).

Known trade-offs (accepted); how far each is from imagecorruptions, which has other constants for elastic, is in
tests/interventions/test_imagecorruptions.py:
- glass blur moves every pixel to a random near place at once, where the original swaps pixels one after another, so
  that one may travel far;
- motion blur and snow place the taps of a trail between pixels (bilinear), where the original rounds them to whole
  pixels;
- the disk of the defocus blur is drawn by area, so that its radius need not be a whole number;
- zooms of the zoom blur are about the exact middle, where the original crops whole pixels;
- shot noise rounds light to 1/1020, which is exact for pictures of 8 bits;
- flakes of snow that would be smaller than a pixel are drawn on a finer grid and averaged, so on a small picture they
  are fainter than on a large one that is then made small; the layer of snow is not rounded to bytes;
- frost is cut from textures at 1.1 times their size (imagecorruptions' way), where ImageNet-C cuts them as they are.
"""

from __future__ import annotations

from muroan.interventions.perturbations.base import Perturbation, rows
from muroan.interventions.perturbations.blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from muroan.interventions.perturbations.digital import contrast, elastic, jpeg, pixelate
from muroan.interventions.perturbations.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from muroan.interventions.perturbations.style import stylize
from muroan.interventions.perturbations.weather import brightness, fog, frost, snow
from muroan.modality import Image, Modality

REFERENCE_SIZE = 224
"""Side in pixels of the pictures that the constants were chosen for."""


def scale_of(modality: Modality) -> float:
    """What lengths in pixels shrink by on pictures of this size; 1 for what is no picture."""
    return min(modality.size) / REFERENCE_SIZE if isinstance(modality, Image) else 1.0


SNOW = (
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
ELASTIC = ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))

row = rows("image", "ImageNet-C")

TABLE: tuple[Perturbation, ...] = (
    row(gaussian_noise, "noise", (0.08, 0.12, 0.18, 0.26, 0.38)),
    row(shot_noise, "noise", (60, 25, 12, 5, 3)),
    row(impulse_noise, "noise", (0.03, 0.06, 0.09, 0.17, 0.27)),
    row(speckle_noise, "noise", (0.15, 0.2, 0.35, 0.45, 0.6)),
    row(defocus_blur, "blur", ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))),
    row(glass_blur, "blur", ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))),
    row(motion_blur, "blur", ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
    row(zoom_blur, "blur", ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))),
    row(snow, "weather", SNOW),
    row(frost, "weather", ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)), wants="frost"),
    row(fog, "weather", ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))),
    row(brightness, "weather", (0.1, 0.2, 0.3, 0.4, 0.5)),
    row(contrast, "digital", (0.4, 0.3, 0.2, 0.1, 0.05)),
    row(elastic, "digital", tuple((244 * a, 244 * s, 244 * k) for a, s, k in ELASTIC)),
    row(pixelate, "digital", (0.6, 0.5, 0.4, 0.3, 0.25)),
    row(jpeg, "digital", (25, 18, 15, 10, 7)),
    row(stylize, "style", (1.0,), "MM_Robustness: AdaIN, alpha 1", wants="stylize"),
)
