"""A mitigation: from a model and data to a model that is safer by a named measure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from muroan import settings
from muroan.batch import Schema
from muroan.dataset import Dataset, Splits
from muroan.errors import AskedWrongly
from muroan.model import Capability, Model
from muroan.training import Loss, Schedule, Trained, Trainer


@dataclass(frozen=True)
class Mitigated:
    """What a mitigation made of a model.

    model: the safer one. tensors and facts: all that `Mitigation.restore` needs to make it again from the model that
    the mitigation was given; facts are plain JSON. notes: what a reader of the comparison should know.
    """

    model: Model
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Mitigation(ABC):
    """Subclasses are frozen dataclasses whose fields are settings, registered with `@register`.

        name      as the field calls it
        does      one sentence: what is done, and against what
        place     where it stands in the taxonomy
        source    paper and equation
        needs     capabilities that the model must have
        improves  probe -> its metrics that should get better; none where no probe measures what it is for
        removes   planted faults (organisms) that it is meant to remove

    The promises that `muroan.checks` tests: the same seed gives the same model; saved and loaded, predictions are the
    same bits; what it says that it removes it removes.
    """

    name: ClassVar[str]
    does: ClassVar[str]
    place: ClassVar[str] = "robustness/adversarial"
    source: ClassVar[str] = ""
    needs: ClassVar[frozenset[Capability]] = frozenset()
    improves: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    removes: ClassVar[tuple[str, ...]] = ()

    def applies(self, model: Model, schema: Schema) -> str | None:
        """None if it makes sense here, else the reason why not. Capabilities are checked before."""
        return None

    def why_not(self, model: Model, data: Splits) -> str | None:
        """None if it can be applied to this model with these data, else the reason why not."""
        missing = sorted(c.says for c in self.needs - model.capabilities)
        if missing:
            return f"it needs {', '.join(missing)}, which {model.name} does not declare"
        why = self.applies(model, data.audited.schema)
        if why is None and Capability.TRAIN in self.needs and data.members is None:
            why = "it needs data to train on (--members), disjoint from the data audited"
        return why

    @abstractmethod
    def apply(self, model: Model, data: Splits, trainer: Trainer, *, seed: int = 0) -> Mitigated:
        """The safer model. `model` is the caller's to give away: its modules may be trained in place.

        data: `members` to train on, `reference` for thresholds; the audited split is not touched. trainer: how
        training is carried out (device, progress, resuming), see `muroan.training`.
        """

    @abstractmethod
    def restore(self, model: Model, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Model:
        """The safer model again, from a model equal to the one `apply` was given; `model` may be changed in place."""

    @classmethod
    def configured(cls, given: Mapping[str, Any]) -> Mitigation:
        """The mitigation with these settings; raises `AskedWrongly` for one that it does not have."""
        return settings.configured(cls, given)

    def settings(self) -> dict[str, Any]:
        """Settings by name, as they stand beside the saved model."""
        return settings.settings(self)


@dataclass(frozen=True)
class Objective:
    """What one training lowers, and on what.

    loss: of a batch, random numbers coming from torch's generator, which every step seeds. validation: what tells which
    weights are kept and when to stop, the loss itself if None. beside: networks that are trained with the model and
    dropped afterwards, by name. modules, parameters: those that are trained, all that the model shows if None.
    on_step: told before each step what share of them is done. notes: what is to be said when all is done.
    """

    loss: Loss
    validation: Loss | None = None
    beside: Mapping[str, nn.Module] = field(default_factory=dict)
    modules: nn.Module | None = None
    parameters: Sequence[nn.Parameter] | None = None
    on_step: Callable[[float], None] | None = None
    notes: Callable[[], Sequence[str]] = tuple


@dataclass(frozen=True, kw_only=True)
class Fitting(Mitigation):
    """A mitigation that trains. epochs, batch, rate: how long, how many samples a step, how fast (`Schedule`)."""

    needs = frozenset({Capability.SCORES, Capability.TRAIN})
    stops_early: ClassVar[bool] = True
    """False: all epochs are trained, for a loss by which patience would be too short."""

    epochs: int = 10
    batch: int = 128
    rate: float = 1e-3

    def schedule(self, **others: Any) -> Schedule:
        """How long and how fast; others: what is not as the settings say."""
        asked = {"epochs": self.epochs, "batch": self.batch, "rate": self.rate} | others
        return Schedule(**asked) if self.stops_early else Schedule(patience=asked["epochs"], **asked)

    def fit(
        self, model: Model, objective: Objective, data: Dataset, trainer: Trainer, *, seed: int, **others: Any
    ) -> Trained:
        """Train in place, by the schedule with these `others`."""
        modules = model.trainable() if objective.modules is None else objective.modules
        if objective.beside:
            modules = nn.ModuleDict({"model": modules, **objective.beside})
        return trainer.fit(
            modules,
            objective.loss,
            data,
            self.schedule(**others),
            seed=seed,
            parameters=objective.parameters,
            validation=objective.validation,
            on_step=objective.on_step,
        )

    def restore(self, model: Model, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Model:
        load_state(model.trainable(), tensors)
        return model


@dataclass(frozen=True, kw_only=True)
class Retraining(Fitting):
    """A mitigation that changes a model's weights and nothing else: a subclass says by which objective."""

    @abstractmethod
    def objective(self, model: Model, data: Dataset, seed: int) -> Objective:
        """What training on these data lowers."""

    def apply(self, model: Model, data: Splits, trainer: Trainer, *, seed: int = 0) -> Mitigated:
        fit_on = members(data, self.name)
        objective = self.objective(model, fit_on, seed)
        trained = self.fit(model, objective, fit_on, trainer.named(self.name), seed=seed)
        return Mitigated(model, state(model.trainable()), notes=(trained.note, *objective.notes()))


def state(modules: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's parameters and buffers, on the CPU; tensors that are shared stand under each name."""
    return {name: t.detach().cpu().clone().contiguous() for name, t in modules.state_dict().items()}


def load_state(modules: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put a state back; raises `AskedWrongly` where it does not fit."""
    try:
        modules.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        raise AskedWrongly(f"these weights are not of this model: {error}") from error


def members(data: Splits, name: str) -> Dataset:
    """What there is to train on; raises `AskedWrongly` if there is nothing."""
    if data.members is None:
        raise AskedWrongly(f"{name} trains: it needs data to train on (--members), disjoint from the data audited")
    return data.members
