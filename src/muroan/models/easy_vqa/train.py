"""Trains the shipped model and its shadows: `python -m muroan.models.easy_vqa.train [--out DIR] [--seed 0]`.

Writes target.safetensors, shadows.safetensors and CARD.md. A few minutes on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from muroan.data.easy_vqa import EasyVQA, easy_vqa
from muroan.estimate import Estimate
from muroan.models.easy_vqa.card import accuracy, measure, scores, write
from muroan.models.easy_vqa.examples import Examples, gather
from muroan.models.easy_vqa.model import SHADOWS, TARGET, EasyVQAModel, easy_vqa_model
from muroan.models.easy_vqa.network import build_vocabulary, word_index
from muroan.models.easy_vqa.recipe import Recipe, balanced_halves, train
from muroan.models.easy_vqa.weights import Trained, save
from muroan.randomness import choose


@dataclass(frozen=True)
class Trainer:
    """What all networks of one run have in common."""

    recipe: Recipe
    seed: int
    vocabulary: tuple[str, ...]
    classes: tuple[str, ...]
    console: Console

    def fit(self, examples: Examples, runs: Mapping[str, Tensor]) -> list[Trained]:
        """One network for each of `runs`: a name, which is part of its seed -> the pictures it is trained on."""
        trained = []
        columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
        with Progress(*columns, console=self.console, transient=True) as bars:
            bar = bars.add_task("", total=sum(self.recipe.steps(len(chosen)) for chosen in runs.values()))
            for name, chosen in runs.items():
                bars.update(bar, description=name)
                network = train(
                    examples,
                    chosen,
                    word_index(self.vocabulary),
                    self.recipe,
                    classes=len(self.classes),
                    seed=f"{self.seed} {name}",
                    step_done=partial(bars.advance, bar),
                )
                pictures = frozenset(examples.names[p] for p in chosen.tolist())
                trained.append(Trained(network.state_dict(), pictures))
        return trained

    def save(self, path: Path, networks: Sequence[Trained]) -> None:
        """Networks with what is needed to use them and to train them again."""
        facts = {"vocabulary": self.vocabulary, "classes": self.classes}
        save(path, networks, {**facts, "seed": self.seed, "recipe": asdict(self.recipe)})

    def on_left_out(self, examples: Examples, n: int) -> Estimate:
        """Accuracy on `n` pictures of a network trained on all others: for choosing recipes."""
        left = torch.zeros(len(examples.names), dtype=torch.bool)
        left[choose(examples.names, n, "easy-vqa left out", self.seed)] = True
        [trained] = self.fit(examples, {"target": (~left).nonzero()[:, 0]})
        model = EasyVQAModel(trained, vocabulary=self.vocabulary, classes=self.classes)
        return accuracy(scores(model, examples), examples, left[examples.picture].numpy())


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, saves, measures what was saved."""
    options = _options(arguments)
    splits = easy_vqa()
    audited, members = splits.audited, splits.members
    assert isinstance(audited, EasyVQA)
    assert isinstance(members, EasyVQA)
    training = gather([members], pictures=options.pictures)
    trainer = Trainer(
        recipe=Recipe(epochs=options.epochs),
        seed=options.seed,
        vocabulary=build_vocabulary(training.questions),
        classes=audited.schema.classes,
        console=Console(),
    )
    if options.leave_out:
        left_out = trainer.on_left_out(training, options.leave_out)
        trainer.console.print(f"accuracy on pictures left out: {left_out}", markup=False)
        return

    options.out.mkdir(parents=True, exist_ok=True)
    trainer.save(options.out / TARGET, trainer.fit(training, {"target": torch.arange(len(training.names))}))

    both = gather([members, audited], pictures=options.pictures)
    halves = balanced_halves(both.names, options.shadows, options.seed)
    runs = {f"shadow {k}": half.nonzero()[:, 0] for k, half in enumerate(halves)}
    trainer.save(options.out / SHADOWS, trainer.fit(both, runs))

    model = easy_vqa_model(options.out)
    figures = measure(model, training, gather([audited], pictures=options.pictures), model.shadows())
    write(options.out / "CARD.md", figures, trainer.recipe, options.seed)
    trainer.console.print(f"accuracy on the test split: {figures['accuracy']}", markup=False)
    trainer.console.print(f"written to {options.out}", markup=False)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m muroan.models.easy_vqa.train", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the files go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=Recipe().epochs)
    parser.add_argument("--shadows", type=_even, default=8, help="how many shadow models; even")
    parser.add_argument("--pictures", type=int, help="only the first so many pictures of each split")
    parser.add_argument(
        "--leave-out",
        type=int,
        metavar="N",
        help="train the target without N of its pictures, say how it does on them, and write nothing",
    )
    return parser.parse_args(arguments)


def _even(text: str) -> int:
    if int(text) % 2:
        raise argparse.ArgumentTypeError("must be even, so that every picture is in half of the models")
    return int(text)


if __name__ == "__main__":
    torch.set_num_threads(1)  # a step is too small to share; and sums are added in one order on every machine
    main()
