"""Which parts speak for themselves, and which only together with the other modality?

DIME (Lyu et al., AIES 2022) splits a model M into its unimodal contributions UC, the additive part of M on a
background (EMAP), and multimodal interaction MI = M − UC, and explains the parts of a modality towards each. When the
parts of one modality change, only one term of UC does, E_j f(changed value, others of background sample j), so UC is
the model looked at in the contexts of the background. Attributions are linear in scores, so with the same coalitions
those of MI are those of M minus those of UC, exactly.

The background is a choice: maps of UC depend on it, those of M do not. It stays fixed over all coalitions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from muroan.clean import Clean
from muroan.controllability.explainability.parts import Contexts, Parts, attribute, contexts, cut
from muroan.controllability.explainability.shapley import Erasable
from muroan.meter import Codes


@dataclass(frozen=True)
class Maps:
    """boxes [N, P, 2·axes], count [N] and double [N, P] each: attributions of M, of UC and of MI = M − UC."""

    boxes: Tensor
    count: Tensor
    whole: Tensor
    unimodal: Tensor

    @property
    def interaction(self) -> Tensor:
        """[N, P]: what the parts say only together with the other modalities."""
        return self.whole - self.unimodal


def dime(clean: Clean, background: Clean, modality: str, explainer: Parts | None = None) -> Maps:
    """Maps of one modality's parts; each changed value is encoded once and fused with every background sample.

    clean [N], background [B] samples of the same model; explainer: how parts are cut and attributed (its `others` is
    not used).
    """
    explainer = explainer or Parts(method="lime")
    erasable = Erasable.of(clean)
    pieces = cut(clean, modality, explainer.per_axis(clean.model.modalities[modality]))
    whole = attribute(clean, pieces, explainer.design, contexts(clean, modality, "present", erasable))
    unimodal = attribute(clean, pieces, explainer.design, _of_background(clean, background, modality, erasable))
    return Maps(pieces.boxes, pieces.count, whole.values, unimodal.values)


def _of_background(clean: Clean, background: Clean, modality: str, erasable: Erasable) -> Contexts:
    """Every background sample's other modalities, the same for all samples."""
    codes = dict(erasable.codes)
    index, present = {}, {}
    for m in clean.model.modalities:
        if m == modality:
            continue
        codes[m] = Codes.concat([erasable.codes[m], background.codes[m]])
        at = erasable.codes[m].n + background.index[m]
        index[m] = at.expand(len(clean), -1)
        here = background.batch.present.get(m, torch.ones(len(background), dtype=torch.bool))
        present[m] = here.expand(len(clean), -1)
    weights = torch.full((len(background),), 1 / len(background), dtype=torch.double)
    return Contexts(replace(erasable, codes=codes), index, present, weights)
