"""Where shards are worked on. An engine runs tasks and yields their results; it knows nothing of audits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, TypeVar

from muroan.errors import unknown

Task = TypeVar("Task")
Result = TypeVar("Result")


class Engine(ABC):
    """Runs `work` on every task. Tasks are independent; results may come in any order."""

    name: ClassVar[str]

    @abstractmethod
    def run(self, tasks: Sequence[Task], work: Callable[[Task], Result]) -> Iterator[Result]:
        """Yield each task's result as it is done. An exception of `work` ends the run."""


class Local(Engine):
    """One task after another in this process; torch uses the cores inside a task."""

    name = "local"

    def run(self, tasks: Sequence[Task], work: Callable[[Task], Result]) -> Iterator[Result]:
        for task in tasks:
            yield work(task)


ENGINES: dict[str, type[Engine]] = {Local.name: Local}


def engine(name: str) -> Engine:
    """The engine of that name."""
    if name not in ENGINES:
        raise unknown("engine", name, ENGINES)
    return ENGINES[name]()
