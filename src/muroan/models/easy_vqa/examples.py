"""The data as training reads them: every picture once, with all its questions.

A picture has about ten questions; going through pictures instead of questions encodes each only once a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from muroan.data.easy_vqa import EasyVQA
from muroan.models.easy_vqa.network import tokenise


@dataclass(frozen=True)
class Examples:
    """P pictures and their Q questions, which are in the order of the pictures.

    names: "train-12"; pictures: bytes [P, 3, 64, 64]; questions: texts; targets, picture: long [Q], the answer
    and the picture (0 to P−1) of each question; kinds: the kind of each question.
    """

    names: list[str]
    pictures: Tensor
    questions: list[str]
    targets: Tensor
    picture: Tensor
    kinds: list[str]

    def values(self, which: Tensor | slice = slice(None)) -> Tensor:
        """Pictures as the model reads them, float [n, 3, 64, 64] in [0, 1]."""
        return self.pictures[which].float() / 255

    def tokens(self, index: Mapping[str, int]) -> Tensor:
        """Questions as rows of the word table [Q, T]."""
        return tokenise(self.questions, index)[0]

    def of_pictures(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """(questions of these pictures, position in `chosen` of the picture of each), both long."""
        counts = torch.bincount(self.picture, minlength=len(self.names))
        first = counts.cumsum(0) - counts
        at = torch.repeat_interleave(torch.arange(len(chosen)), counts[chosen])
        within = torch.arange(len(at)) - (counts[chosen].cumsum(0) - counts[chosen])[at]
        return first[chosen][at] + within, at


def gather(sources: Iterable[EasyVQA], *, pictures: int | None = None) -> Examples:
    """All pictures of these data sets, or the first `pictures` of each, with their questions."""
    names: list[str] = []
    planes, questions, targets, picture, kinds = [], [], [], [], []
    for data in sources:
        classes = data.schema.classes
        start = len(names)
        for i in range(len(data)):
            sample = data.sample(i)
            name = str(sample.cluster)
            if not names or names[-1] != name:
                if len(names) - start == pictures:
                    break
                names.append(name)
                planes.append(torch.from_numpy(np.array(sample.inputs["image"])).permute(2, 0, 1))
            questions.append(sample.inputs["question"])
            targets.append(classes.index(str(sample.target)))
            picture.append(len(names) - 1)
            kinds.append(sample.groups["kind"])
    return Examples(names, torch.stack(planes), questions, torch.tensor(targets), torch.tensor(picture), kinds)
