"""A memory of clean codes: what a code has in common with it is mixed into the code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from muroan.batch import Batch
from muroan.dataset import Splits
from muroan.errors import AskedWrongly
from muroan.losses import vectors
from muroan.mitigation import Mitigated, Mitigation, members
from muroan.modality import Value
from muroan.model import Capability, Code, Embedded, Model, tensors_fingerprint
from muroan.models.defended import DefendedInside
from muroan.randomness import key
from muroan.registry import register
from muroan.training import Trainer


def largest(atoms: Tensor) -> float:
    """λ_max of DᵀD, for atoms D [A, d] in rows."""
    return float(torch.linalg.matrix_norm(atoms.double(), ord=2) ** 2)


def checked(atoms: Tensor, step: float | None) -> float:
    """The step, 1 / λ_max if None; raises `AskedWrongly` where the iteration could diverge."""
    most = largest(atoms)
    if step is None:
        return 1.0 / most
    if step * most > 1:
        raise AskedWrongly(f"a step of {step:g} can diverge: step · λ_max(DᵀD) is {step * most:.3g}, above 1")
    return step


def objective(x: Tensor, h: Tensor, atoms: Tensor, sparsity: float) -> Tensor:
    """½ ‖h D − x‖² + sparsity · ‖h‖₁, [N]: what a sparse code h [N, A] of x [N, d] minimises."""
    return 0.5 * (h @ atoms - x).square().sum(dim=1) + sparsity * h.abs().sum(dim=1)


def sparse_codes(
    x: Tensor, atoms: Tensor, *, sparsity: float, step: float, iterations: int, tolerance: float = 0.0
) -> Tensor:
    """ISTA: h ← shrink(h − step · (h D − x) Dᵀ, step · sparsity) from 0, [N, A]; differentiable with respect to x.

    A row stops once it moved by less than `tolerance`, whatever the others do.
    """
    gram, drive = atoms @ atoms.T, x @ atoms.T
    h = torch.zeros_like(drive)
    moving = torch.ones(len(x), 1, dtype=torch.bool)
    for _ in range(iterations):
        ahead = h - step * (h @ gram - drive)
        new = ahead.sign() * (ahead.abs() - step * sparsity).clamp_min(0)
        new = torch.where(moving, new, h)
        moving = moving & ((new - h).detach().norm(dim=1, keepdim=True) >= tolerance)
        h = new
        if not bool(moving.any()):
            break
    return h


class Remembering(DefendedInside):
    """The model with every code half replaced by its reconstruction from a memory: (1 − share) x + share h* D."""

    def __init__(self, inner: Model, memory: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        super().__init__(inner, "feature memory")
        self.memory, self.facts = dict(memory), dict(facts)

    def encode(self, modality: str, values: Value) -> Code:
        return self._mixed(modality, super().encode(modality, values))

    def encode_embedded(self, modality: str, embedded: Embedded) -> Code:
        return self._mixed(modality, super().encode_embedded(modality, embedded))

    def _mixed(self, modality: str, code: Tensor) -> Tensor:
        atoms, share = self.memory[modality], float(self.facts["share"])
        how = {name: self.facts[name] for name in ("sparsity", "iterations", "tolerance")}
        h = sparse_codes(code, atoms, step=self.facts["steps"][modality], **how)
        return (1 - share) * code + share * (h @ atoms)

    def fingerprint(self) -> str:
        return f"{super().fingerprint()} by {tensors_fingerprint(self.memory)} {sorted(self.facts.items())}"


@register
@dataclass(frozen=True, kw_only=True)
class FeatureMemory(Mitigation):
    """Learns a dictionary of the codes of training samples for each input, and mixes into every code its sparse
    reconstruction from it, which has no room for what clean codes never show.

    Attacks go through it: the iteration is differentiable. share: of the reconstruction (0.5 in the source, 0.6 on one
    of its data). sparsity: λ (0.1 there). step: of the iteration, 1 / λ_max(DᵀD) if None; one that could diverge is
    refused. iterations, tolerance: at most so many, and when a row stops (source: 2,000 and 8e-4). atoms: of a
    dictionary: centres of clusters of the codes (k-means; how the source learns its dictionary is not known here).
    """

    name = "feature_memory"
    does = "Mixes what clean training codes explain of a code into it, against changed codes."
    source = "Tian & Xu, CVPR 2021 (defence, second part)"
    needs = frozenset({Capability.SCORES, Capability.FUSE})
    improves = {"robustness.gradient": ("success", "robust_accuracy")}

    atoms: int = 64
    share: float = 0.5
    sparsity: float = 0.1
    step: float | None = None
    iterations: int = 200
    tolerance: float = 8e-4
    samples: int = 2000

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or self.atoms < 1 or self.iterations < 1 or self.sparsity < 0:
            raise AskedWrongly(f"this is no memory to read from: {self}")

    def apply(self, model: Model, data: Splits, trainer: Trainer, *, seed: int = 0) -> Mitigated:
        memory = self.learned(model, members(data, self.name).first(self.samples), seed)
        steps = {m: checked(d, self.step) for m, d in memory.items()}
        facts = {"share": self.share, "sparsity": self.sparsity, "steps": steps, "iterations": self.iterations}
        facts |= {"tolerance": self.tolerance}
        return Mitigated(Remembering(model, memory, facts), memory, facts)

    def learned(self, model: Model, batch: Batch, seed: int) -> dict[str, Tensor]:
        """A dictionary [A, d] by input: centres of clusters of its codes, in rows of length 1."""
        from sklearn.cluster import KMeans

        memory = {}
        with torch.no_grad():
            codes = vectors(model, batch)
        for m, code in codes.items():
            drawn = key(self.name, m, seed) % 2**31
            clusters = KMeans(n_clusters=min(self.atoms, len(code)), n_init=1, random_state=drawn)
            centres = torch.from_numpy(clusters.fit(code.double().numpy()).cluster_centers_).float()
            memory[m] = functional.normalize(centres, dim=1).contiguous()
        return memory

    def restore(self, model: Model, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Model:
        return Remembering(model, tensors, facts)
