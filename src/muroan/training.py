"""Training, for every mitigation that trains: where the model lies, resumable, with progress, stopped early.

Batches and random numbers depend on the seed and the step alone, never on what ran before: a training that was
interrupted ends where it would have ended anyway. Several devices are Accelerate's business (`accelerate launch`).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from muroan.batch import Batch
from muroan.dataset import Dataset, split_off
from muroan.errors import AskedWrongly, CannotComplete
from muroan.randomness import sample_keys, seeded

Loss = Callable[[Batch], Tensor]
"""The mean loss of a batch, with a graph to the weights."""
Advance = Callable[[int, str], None]
"""Called with how many steps were done since the last call, and what is being done now."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast. epochs: at most so many passes over the training part. batch: samples a step. rate, decay:
    of AdamW, the rate falling to zero along a cosine. patience: epochs without a lower validation loss before it stops;
    the weights of the lowest are kept. held_out: share of the data (by cluster) that validates and trains nothing.
    """

    epochs: int = 10
    batch: int = 128
    rate: float = 1e-3
    decay: float = 0.0
    patience: int = 3
    held_out: float = 0.15

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1 or self.patience < 1 or not self.rate > 0 or not 0 < self.held_out < 1:
            raise AskedWrongly(
                f"this is no schedule to train by: {self}; epochs, batch and patience are 1 or more, rate is above 0, "
                "held_out lies between 0 and 1"
            )


@dataclass(frozen=True)
class Trained:
    """How it went: mean training and validation loss of each epoch, and the epoch whose weights were kept.

    start: validation loss before training. kept: index of the epoch; None: no epoch was better than the start, whose
    weights are kept.
    """

    training: tuple[float, ...]
    validation: tuple[float, ...]
    start: float
    kept: int | None

    def later(self, training: float, validation: float) -> Trained:
        """One epoch later."""
        lowest = validation <= min(self.start, *self.validation, validation)
        kept = len(self.validation) if lowest else self.kept
        return Trained((*self.training, training), (*self.validation, validation), self.start, kept)

    @property
    def in_vain(self) -> int:
        """Epochs since the weights that are kept."""
        return len(self.validation) - (0 if self.kept is None else self.kept + 1)

    @property
    def note(self) -> str:
        seen = f"{len(self.validation)} epochs; validation loss {self.start:.3g} before"
        if self.kept is None:
            return f"{seen}, never lower, {min(self.validation):.3g} at best: the weights are those before training"
        return f"{seen}, {self.validation[self.kept]:.3g} after epoch {self.kept + 1}, whose weights are kept"


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """What every training of one hardening shares.

    progress: (title, steps in all) -> context that gives `Advance`. folder: where an unfinished training is kept, so
    that it can be gone on with; None keeps nothing.
    """

    progress: Callable[[str, int], Any] | None = None
    folder: Path | None = None
    name: str = "training"

    def named(self, name: str) -> Trainer:
        """The same for a training of another name: each keeps its own state."""
        return Trainer(progress=self.progress, folder=self.folder, name=f"{self.name}-{name}")

    def fit(
        self,
        modules: nn.Module,
        loss: Loss,
        data: Dataset,
        schedule: Schedule,
        *,
        seed: int,
        parameters: Sequence[nn.Parameter] | None = None,
        validation: Loss | None = None,
        on_step: Callable[[float], None] | None = None,
    ) -> Trained:
        """Train `modules` in place to lower `loss` on batches of `data`.

        parameters: those that move, all if None. validation: the loss that stops it, `loss` if None; evaluated on the
        part held out, with the same random numbers every time. on_step: called before each step with the share of all
        steps that are done, 0 or more and below 1, for a loss that changes on the way. Modules are in training mode
        while `loss` runs and in evaluation mode during validation and afterwards.
        """
        parts = split_off(data, schedule.held_out, seed)
        assert parts.reference is not None
        moving = list(modules.parameters()) if parameters is None else list(parameters)
        if not moving:
            raise AskedWrongly(f"{self.name}: there is no parameter to train")
        judge = validation or loss
        run = _Run(self, modules, loss, judge, parts.audited, parts.reference, schedule, seed, moving, on_step)
        try:
            with differentiable(modules.parameters(), moving):
                return run.carry_out()
        finally:
            modules.zero_grad()
            modules.eval()


class _Objective(nn.Module):
    """The loss as a module, so that whatever wraps modules (data parallelism) sees one forward pass."""

    def __init__(self, modules: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.modules_, self.loss = modules, loss

    def forward(self, batch: Batch) -> Tensor:
        return self.loss(batch)


@dataclass
class _Run:
    trainer: Trainer
    modules: nn.Module
    loss: Loss
    judge: Loss
    data: Dataset
    held: Dataset
    schedule: Schedule
    seed: int
    moving: list[nn.Parameter]
    on_step: Callable[[float], None] | None = None

    def carry_out(self) -> Trained:
        accelerator = _accelerator(self.moving[0].device)
        optimiser = torch.optim.AdamW(self.moving, lr=self.schedule.rate, weight_decay=self.schedule.decay)
        steps = -(-len(self.data) // self.schedule.batch)
        total = steps * self.schedule.epochs
        objective, prepared = accelerator.prepare(_Objective(self.modules, self.loss), optimiser)
        done, best = self._resume(optimiser)
        show = self.trainer.progress or _silent
        with show(self.trainer.name, total) as advance:
            advance(len(done.validation) * steps, "going on")
            while (epoch := len(done.validation)) < self.schedule.epochs and done.in_vain < self.schedule.patience:
                losses = []
                for step, index in enumerate(self._batches(epoch), epoch * steps):
                    for group in optimiser.param_groups:
                        group["lr"] = self.schedule.rate * (1 + math.cos(math.pi * step / total)) / 2
                    batch = self.data.load(index[accelerator.process_index :: accelerator.num_processes]).batch
                    if self.on_step is not None:
                        self.on_step(step / total)
                    if batch is not None:
                        losses.append(self._step(accelerator, objective, prepared, batch, step))
                    advance(1, f"epoch {epoch + 1}")
                done = done.later(sum(losses) / max(1, len(losses)), self._validated())
                if done.kept == epoch:
                    best = _copy(self.modules)
                if accelerator.is_main_process:
                    self._save(done, best, optimiser)
        self.modules.load_state_dict(best)
        return done

    def _step(self, accelerator: Any, objective: nn.Module, optimiser: Any, batch: Batch, step: int) -> float:
        self.modules.train()
        with seeded(self.seed, self.trainer.name, "step", step), torch.enable_grad():
            loss: Tensor = objective(batch)
        value = float(loss.detach())
        if value != value or abs(value) == float("inf"):
            raise CannotComplete(f"{self.trainer.name}: the loss is {value} at step {step}; a lower rate may help")
        optimiser.zero_grad()
        accelerator.backward(loss)
        optimiser.step()
        self.modules.eval()
        return value

    def _validated(self) -> float:
        self.modules.eval()
        total, count = 0.0, 0
        for k in range(0, len(self.held), self.schedule.batch):
            batch = self.held.load(range(k, min(k + self.schedule.batch, len(self.held)))).batch
            if batch is None:
                continue
            with seeded(self.seed, self.trainer.name, "validation", k):
                # Losses may need gradients inside, such as those that attack their inputs.
                value = float(self.judge(batch).detach())
            total, count = total + value * len(batch), count + len(batch)
        if not count:
            raise CannotComplete(f"{self.trainer.name}: no sample of the validation part can be read")
        return total / count

    def _batches(self, epoch: int) -> Iterator[list[int]]:
        keys = sample_keys(list(self.data.ids), self.seed, self.trainer.name, "epoch", epoch)
        order = keys.argsort(kind="stable").tolist()
        for k in range(0, len(order), self.schedule.batch):
            yield order[k : k + self.schedule.batch]

    # What is kept of an unfinished training: weights, the best so far, the optimiser's moments, the history.

    @property
    def _place(self) -> Path | None:
        return self.trainer.folder / f"{self.trainer.name}.safetensors" if self.trainer.folder else None

    def _identity(self) -> str:
        return f"{self.schedule} {self.seed} {self.data.fingerprint()} {len(self.moving)}"

    def _save(self, done: Trained, best: Mapping[str, Tensor], optimiser: torch.optim.Optimizer) -> None:
        if (place := self._place) is None:
            return
        from safetensors.torch import save_file

        tensors = {f"now.{n}": t for n, t in _copy(self.modules).items()} | {f"best.{n}": t for n, t in best.items()}
        for k, entry in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{k}.{n}": torch.as_tensor(t).clone() for n, t in entry.items()}
        place.parent.mkdir(parents=True, exist_ok=True)
        aside = place.with_name(f".{place.name}.{os.getpid()}")
        facts = {"history": json.dumps(vars(done)), "identity": self._identity()}
        save_file({n: t.cpu().contiguous() for n, t in tensors.items()}, aside, metadata=facts)
        aside.replace(place)

    def _resume(self, optimiser: torch.optim.Optimizer) -> tuple[Trained, dict[str, Tensor]]:
        """How far what is kept has come, and the best weights so far; a beginning with the modules' own where nothing
        of this very training is kept."""
        facts, kept = self._kept()
        if facts.get("identity") != self._identity():
            return Trained((), (), self._validated(), None), _copy(self.modules)
        self.modules.load_state_dict(_under("now.", kept))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimiser.", kept).items():
            k, _, what = name.partition(".")
            moments.setdefault(int(k), {})[what] = tensor
        optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
        done = Trained(**json.loads(facts["history"]))
        return replace(done, training=tuple(done.training), validation=tuple(done.validation)), _under("best.", kept)

    def _kept(self) -> tuple[dict[str, str], dict[str, Tensor]]:
        """Facts and tensors of an unfinished training, if one is kept."""
        if (place := self._place) is None or not place.exists():
            return {}, {}
        from safetensors import safe_open

        with safe_open(place, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _copy(modules: nn.Module) -> dict[str, Tensor]:
    return {n: t.detach().clone() for n, t in modules.state_dict().items()}


def _accelerator(device: torch.device) -> Any:
    """Accelerate's, on the device where the model lies."""
    try:
        from accelerate import Accelerator
    except ModuleNotFoundError as error:
        raise AskedWrongly("training needs Accelerate: pip install 'muroan[train]'") from error
    return Accelerator(cpu=device.type == "cpu")


@contextmanager
def _silent(title: str, total: int) -> Iterator[Advance]:
    yield lambda done, what: None


@contextmanager
def differentiable(among: Iterable[nn.Parameter], wanted: Iterable[nn.Parameter]) -> Iterator[None]:
    """Of the parameters `among`, those `wanted` alone have gradients meanwhile; afterwards as before."""
    before = {p: p.requires_grad for p in among}
    chosen = {id(p) for p in wanted}
    try:
        for p in before:
            p.requires_grad_(id(p) in chosen)
        yield
    finally:
        for p, was in before.items():
            p.requires_grad_(was)


@contextmanager
def standing_in(parameters: Sequence[nn.Parameter], values: Iterable[Tensor]) -> Iterator[None]:
    """Meanwhile the parameters have these values. Weights change places, so that models that cannot be copied can stand
    beside what they were; a graph that was made outside must not be walked inside."""
    now = [p.data for p in parameters]
    try:
        for p, value in zip(parameters, values, strict=True):
            p.data = value
        yield
    finally:
        for p, own in zip(parameters, now, strict=True):
            p.data = own


@contextmanager
def evaluating(modules: nn.Module) -> Iterator[None]:
    """No dropout and no statistics of batches meanwhile; afterwards each module's mode is what it was."""
    before = [(m, m.training) for m in modules.modules()]
    modules.eval()
    try:
        yield
    finally:
        for m, was in before:
            m.training = was
