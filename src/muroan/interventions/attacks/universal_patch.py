"""One patch for every picture: a small square that turns decisions wherever it is stuck on.

Found by direct optimisation of its pixels, without a generator (AdvCLIP, Zhou et al., ACM MM 2023, trains a GAN for it;
the loss on codes, its constants and the patch's place are from there). On a model whose codes are aligned the patch is
fitted to the codes alone, so that it is aimed at no task and every head on the same encoder gets it; on others it is
fitted to leave the model's own decisions.

Left out of the source: the generator, the discriminator, and the squared difference of the pictures, which keeps the
patch unobtrusive and has no bearing on what it does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from muroan.attack import Attack, Attacked
from muroan.batch import Batch
from muroan.budget import Budgets
from muroan.errors import AskedWrongly, NotApplicable
from muroan.interventions.attacks.losses import loss_of
from muroan.interventions.attacks.results import compared, nothing
from muroan.interventions.attacks.stage import Stage
from muroan.meter import Metered
from muroan.modality import Image
from muroan.model import Capability
from muroan.randomness import choose, key, uniform

SHARE, MARGIN, SIDE = 0.03, 14, 224
"""Of the picture's area; pixels from the lower right corner, of a picture of 224."""
TEMPERATURE, ALPHA, BETA, GAMMA, DELTA = 0.1, 10.0, 5.0, 5.0, 1.0
"""The source's weights: of InfoNCE against topology, of the partner against the picture itself in either."""
STARTS = 16
"""Random patches of which fitting begins at the best: around grey, many a loss is flat."""
SOFTNESS = 5.0
"""Log-odds over which a decision counts as near: what is far from turning, or has turned, moves the patch little."""


@dataclass(frozen=True)
class Place:
    """A square of `side` pixels whose upper left corner is at row `top`, column `left`."""

    side: int
    top: int
    left: int

    @staticmethod
    def of(size: tuple[int, int], share: float = SHARE) -> Place:
        """The lower right corner, with the source's margin: 38 pixels at 172 of 224, the same share elsewhere."""
        height, width = size
        side = int(math.sqrt(share * height * width))
        margin = round(MARGIN / SIDE * min(size))
        if side < 1 or side + margin > min(size):
            raise AskedWrongly(f"a patch of {share:g} of {height} by {width} pixels has {side} pixels a side")
        return Place(side, height - margin - side, width - margin - side)

    def on(self, x: Tensor, pixels: Tensor) -> Tensor:
        """Pictures [N, C, H, W] with pixels [C, side, side], or one patch a picture, in this place."""
        out = x.clone()
        out[..., self.top : self.top + self.side, self.left : self.left + self.side] = pixels
        return out


@dataclass(frozen=True, kw_only=True, eq=False)
class UniversalPatch(Attack):
    """A fitted patch: the same pixels on every picture. It asks nothing of the model, and never looks at it.

    `Budget.share` of the picture has to allow its area; otherwise pictures stay as they are. pixels [C, side, side].
    Not registered: without being fitted (`fit`) it is nothing.
    """

    name = "universal_patch"
    source = "AdvCLIP, Zhou et al., ACM MM 2023 (arXiv 2308.07026), without its GAN"

    modality: str
    pixels: Tensor
    at: Place

    def put(self, batch: Batch) -> Tensor:
        """The batch's pictures with the patch; a picture that is not there has none."""
        x: Tensor = batch.inputs[self.modality]
        patched: Tensor = batch.if_there(self.modality, self.at.on(x, self.pixels.to(x.dtype)))
        return patched

    def run(self, model: Metered, batch: Batch, budgets: Budgets, *, seed: int = 0) -> Attacked:
        budget = budgets.get(self.modality)
        # A picture may be patched whose points that may change are enough.
        height, width = batch.inputs[self.modality].shape[-2:]
        if budget is None or budget.share * height * width < self.at.side**2:
            return nothing(model, batch)
        return compared(model, batch, batch.with_inputs(**{self.modality: self.put(batch)}))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a patch is fitted: `steps` of Adam with rate `rate` on `rows` pictures each, from the best of `STARTS`."""

    share: float = SHARE
    steps: int = 60
    rows: int = 64
    rate: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.share < 1 or self.steps < 1 or self.rows < 2 or self.rate <= 0:
            raise AskedWrongly(f"a patch needs a share between 0 and 1, steps, two rows and a rate: {self}")


Score = Callable[[Tensor, Tensor], Tensor]
"""(patched pictures [R, C, H, W], which samples they are [R]) -> what the patch is to raise, one number."""


def fit(model: Metered, batch: Batch, modality: str, recipe: Recipe | None = None, *, seed: int = 0) -> UniversalPatch:
    """A patch fitted on the pictures of this batch, which must not be those that it is scored on.

    Costs (steps + STARTS) · rows forward and steps · rows backward passes, and the codes of the batch.
    """
    recipe = recipe or Recipe()
    place, score, batch = _begun(model, batch, modality, recipe)
    x: Tensor = batch.inputs[modality]
    pixels = _best_of(STARTS, score, place, batch, modality, recipe, seed, "starts").requires_grad_(True)
    optimiser = torch.optim.Adam([pixels], lr=recipe.rate)
    for step in range(recipe.steps):
        rows = _rows(batch, recipe.rows, seed, step)
        loss = -score(place.on(x[rows], pixels), rows)
        (gradient,) = model.backward(loss, [pixels], len(rows))
        pixels.grad = gradient
        optimiser.step()
        with torch.no_grad():
            pixels.clamp_(0, 1)
    return UniversalPatch(modality=modality, pixels=pixels.detach().clone(), at=place)


def best_noise(
    model: Metered, batch: Batch, modality: str, recipe: Recipe | None = None, *, seed: int = 0
) -> UniversalPatch:
    """The control of equal effort: of as many random patches as fitting makes passes, the one that scores best.

    Each is scored on the same `rows` pictures of the batch, without gradients.
    """
    recipe = recipe or Recipe()
    place, score, batch = _begun(model, batch, modality, recipe)
    tries = 2 * recipe.steps + STARTS
    pixels = _best_of(tries, score, place, batch, modality, recipe, seed, "control")
    return UniversalPatch(modality=modality, pixels=pixels, at=place)


@torch.no_grad()
def _best_of(
    tries: int, score: Score, place: Place, batch: Batch, modality: str, recipe: Recipe, seed: int, purpose: str
) -> Tensor:
    """Of so many patches of uniform noise the one that scores best [C, side, side]."""
    x: Tensor = batch.inputs[modality]
    keys = np.array([key("universal patch", purpose, seed, k) for k in range(tries)], dtype=np.uint64)
    drawn = torch.from_numpy(uniform(keys, x.shape[1], place.side, place.side)).to(x.dtype)
    rows = _rows(batch, recipe.rows, seed, purpose)
    some = x[rows]
    scores = [float(score(place.on(some, pixels), rows)) for pixels in drawn]
    return drawn[int(np.argmax(scores))].clone()


def grey(batch: Batch, modality: str, share: float = SHARE) -> UniversalPatch:
    """The control of occlusion: a patch of one grey."""
    x: Tensor = batch.inputs[modality]
    place = Place.of((x.shape[-2], x.shape[-1]), share)
    return UniversalPatch(modality=modality, pixels=torch.full((x.shape[1], place.side, place.side), 0.5), at=place)


def _rows(batch: Batch, rows: int, seed: int, *purpose: object) -> Tensor:
    return torch.tensor(choose(batch.ids, rows, "universal patch", seed, *purpose))


def _begun(model: Metered, batch: Batch, modality: str, recipe: Recipe) -> tuple[Place, Score, Batch]:
    """The patch's place, what it is to raise, and the samples that have the picture."""
    kind = batch.modalities.get(modality)
    if modality not in model.modalities or not isinstance(kind, Image):
        raise NotApplicable(f"{modality!r} is no picture that {model.model.name} takes")
    model.require(Capability.SCORES, Capability.GRADIENTS)
    if modality in batch.present:
        batch = batch.take(batch.present[modality].nonzero().flatten())
    if len(batch) < 2:
        raise NotApplicable("too few pictures to fit a patch on")
    aligned = {Capability.ALIGNED, Capability.FUSE} <= model.model.capabilities and model.apart
    score = codes_leave(model, batch, modality) if aligned else decisions_leave(model, batch, modality)
    return Place.of(kind.size, recipe.share), score, batch


def decisions_leave(model: Metered, batch: Batch, modality: str) -> Score:
    """How many decisions leave the model's own, softly: the mean of the log-odds through a logistic curve.

    The mean of the log-odds themselves is ruled by the samples that the model is surest of, and turns few.
    """
    stage = Stage.of(model, batch)

    def score(x: Tensor, rows: Tensor) -> Tensor:
        logits = stage.differentiable({modality: x}, rows)
        return torch.sigmoid(loss_of(logits, stage.predicted[rows]) / SOFTNESS).mean()

    return score


def codes_leave(model: Metered, batch: Batch, modality: str) -> Score:
    """How far the patched pictures' codes are from the pictures' own and from their partners'.

    alpha · (InfoNCE(e, e') + beta · InfoNCE(e', t)) + delta · (topology(e, e') + gamma · topology(e', t)), with e the
    picture's code, e' the patched one's, t the partner's (without one, the terms with t are left out).
    """
    own: Tensor = model.encode(modality, batch.inputs[modality]).data
    other = next((m for m in model.modalities if m != modality), None)
    partner: Tensor | None = model.encode(other, batch.inputs[other]).data if other else None

    def score(x: Tensor, rows: Tensor) -> Tensor:
        code: Tensor = model.encode_differentiable(modality, x)
        total = ALPHA * info_nce(own[rows], code) + DELTA * topology(own[rows], code)
        if partner is not None:
            t = partner[rows]
            total = total + ALPHA * BETA * info_nce(code, t) + DELTA * GAMMA * topology(t, code)
        return total

    return score


def info_nce(first: Tensor, second: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """How badly codes [N, D] find their partners among all of the other side: cross-entropy of cosine / temperature."""
    logits = functional.normalize(first, dim=1) @ functional.normalize(second, dim=1).T / temperature
    return functional.cross_entropy(logits, torch.arange(len(logits)))


def topology(first: Tensor, second: Tensor) -> Tensor:
    """How differently two sets of codes [N, D] of the same samples lie: 0 where all similarities agree.

    KL divergence, and that of the complements, between graphs whose rows are the similarities of a sample to the
    others, with the distance of the nearest taken off (as UMAP does) and divided by their sum.
    """
    p, q = _graph(first), _graph(second)
    tiny = 1e-7

    def divergence(a: Tensor, b: Tensor) -> Tensor:
        return (a * ((a + tiny) / (b + tiny)).log()).mean()

    return divergence(p, q) + divergence(1 - p, 1 - q)


def _graph(codes: Tensor) -> Tensor:
    """Rows of similarities [N, N] that add up to 1; nobody is their own neighbour."""
    unit = functional.normalize(codes, dim=1)
    own = torch.eye(len(unit), dtype=torch.bool)
    distance = (1 - unit @ unit.T).masked_fill(own, torch.inf)
    similar = (1 - (distance - distance.amin(dim=1, keepdim=True))).clamp_min(0).masked_fill(own, 0.0)
    return similar / similar.sum(dim=1, keepdim=True)
