"""Measures the weights as they were saved, and writes the model card from nothing but those figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from string import Template

import numpy as np
import torch
from torch import Tensor

from muroan.data.easy_vqa import HELD_OUT, KINDS, MEAN_COLOUR
from muroan.estimate import Estimate, proportion
from muroan.model import Shadow
from muroan.models.easy_vqa.examples import Examples
from muroan.models.easy_vqa.model import EasyVQAModel
from muroan.models.easy_vqa.recipe import Recipe, parameters
from muroan.randomness import sample_keys


@torch.no_grad()
def scores(
    model: EasyVQAModel, examples: Examples, *, pictures: Tensor | None = None, questions: Sequence[str] | None = None
) -> Tensor:
    """Logits [Q, K]; `pictures` [P, 3, 64, 64] or `questions` [Q] stand in for the real ones."""
    values = examples.values() if pictures is None else pictures
    image = torch.cat([model.encode("image", chunk) for chunk in torch.split(values, 512)])
    question = model.encode("question", examples.questions if questions is None else questions)
    return model.decide(model.fuse({"image": image[examples.picture], "question": question}))


def accuracy(logits: Tensor, examples: Examples, which: np.ndarray | None = None) -> Estimate:
    """Share of right answers (of the questions `which`), with an interval that resamples pictures."""
    hits = (logits.argmax(dim=1) == examples.targets).numpy()
    clusters = examples.picture.numpy()
    return proportion(hits, clusters) if which is None else proportion(hits[which], clusters[which])


def measure(model: EasyVQAModel, members: Examples, test: Examples, shadows: Sequence[Shadow]) -> dict[str, str]:
    """Every figure of the card, as text."""
    real = scores(model, test)
    neutral = torch.tensor(MEAN_COLOUR).view(1, 3, 1, 1).expand(len(test.names), 3, 64, 64)
    # Every picture's place is taken by its neighbour in a random circle: no picture stays where it was.
    circle = torch.from_numpy(sample_keys(test.names, "easy-vqa card").argsort())
    swapped = torch.empty_like(circle)
    swapped[circle] = circle.roll(1)
    common = members.targets.bincount(minlength=len(model.classes))
    kinds = np.array(test.kinds)
    outside = [_outside(s, test) for s in shadows]
    confidence = float(real.softmax(dim=1).amax(dim=1).mean())
    return {
        "accuracy": str(accuracy(real, test)),
        "on_members": str(accuracy(scores(model, members), members)),
        "confidence": f"{confidence:.4f}",
        "question_only": str(accuracy(scores(model, test, pictures=neutral), test)),
        "image_only": str(accuracy(scores(model, test, questions=[""] * len(test.questions)), test)),
        "swapped": str(accuracy(scores(model, test, pictures=test.values(swapped)), test)),
        "most_frequent": str(accuracy(common.expand(len(test.questions), -1), test)),
        "kinds": "\n".join(
            f'| test split, questions "{k}" | {accuracy(real, test, kinds == k)} |' for k in KINDS if k in kinds
        ),
        "parameters": f"{parameters(model.network):,}",
        "words": str(len(model.vocabulary)),
        "vocabulary": ", ".join(model.vocabulary),
        "member_pictures": f"{len(members.names):,}",
        "member_questions": f"{len(members.questions):,}",
        "test_pictures": f"{len(test.names):,}",
        "test_questions": f"{len(test.questions):,}",
        "held_out": str(HELD_OUT),
        "shadows": str(len(shadows)),
        "shadow_accuracy": f"{min(outside):.4f} to {max(outside):.4f}" if outside else "not measured",
    }


def _outside(shadow: Shadow, test: Examples) -> float:
    """A shadow's accuracy on the test pictures that it was not trained on."""
    assert isinstance(shadow.model, EasyVQAModel)
    seen = shadow.trained_on([f"{name}-0" for name in test.names])
    new = ~seen[test.picture.numpy()]
    return accuracy(scores(shadow.model, test), test, new).value


def write(path: Path, figures: dict[str, str], recipe: Recipe, seed: int) -> None:
    """Writes the card."""
    text = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in asdict(recipe).items())
    path.write_text(CARD.substitute(figures, recipe=text, seed=seed), encoding="utf-8")


CARD = Template("""\
# Model card: easy-vqa

Answers one of 13 words to an English question about a picture of 64×64 with one coloured shape. It ships with
Muroan so that every method can be tried, tested and timed on a real model within seconds.

This page is written by `python -m muroan.models.easy_vqa.train`; every figure is measured on the saved weights.

## Figures

95 % intervals count pictures, not questions, as independent: the questions of one picture share its fate.

| what | share of right answers |
|---|---|
| test split | $accuracy |
$kinds
| training pictures | $on_members |
| test split, picture neutral (question only) | $question_only |
| test split, question empty (picture only) | $image_only |
| test split, pictures swapped among each other | $swapped |
| the training pictures' most frequent answer, always | $most_frequent |

Were the picture ignored, the rows with a neutral and with swapped pictures would equal the first; were the
question ignored, the row with an empty one would. Mean confidence on the test split: $confidence.

## Network

- Picture: averaged down to 32×32, minus the mean training picture, three strided convolutions, 48 numbers.
- Question: word vectors added up (word order is not seen), one hidden layer, 48 numbers.
- Fusion: the product of both. Decision: one linear layer.
- $parameters parameters, stored as float16, calculated as float32. No layer depends on the batch.
- Case and punctuation are ignored. It knows $words words, every other is one and the same unknown word. Known:
  $vocabulary.

## Data

Package `easy-vqa` 1.0 (MIT licence): rendered pictures, questions from templates.

- Trained on $member_pictures pictures of the training split with $member_questions questions.
- Not trained on: $held_out pictures of the training split (the reference of `muroan.data.easy_vqa`) and the test
  split ($test_pictures pictures with $test_questions questions). Neither chose anything.
- The vocabulary is that of the training pictures' questions.

## Training

AdamW with one cycle of the learning rate, cross-entropy. Seed $seed;
$recipe.

Architecture and recipe were settled on 200 of the training pictures that were left out at the time
(`--leave-out 200` does the like again), never on the reference or the test split.

Shadow models: $shadows of the same recipe for membership inference, each on a random half of the training and
test pictures; every picture is in exactly half of them. Accuracy on the test pictures outside their half:
$shadow_accuracy.

## Use and limits

- Meant for demonstrations, tests and benchmarks of Muroan. Meant for nothing else: it knows three shapes, eight
  colours, one shape a picture, plain backgrounds and the templates of its questions.
- Its figures say how a method behaves on a model that is small, accurate and fully known. They say nothing about
  large models.
- It sees no difference between "does the image contain a circle?" and any other order of these words.
- It was not hardened: small changes of pixels or unknown words may change its answers. That is what it is for.
- No people, no personal data.
""")
