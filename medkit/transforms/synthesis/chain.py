"""Steps one after the other, as one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medkit.errors import UsageError
from medkit.transforms.synthesis.step import Step

if TYPE_CHECKING:
    from torch import Generator

    from medkit.transforms.synthesis.sample import Sample

__all__ = ["Chain"]


class Chain(Step[tuple[Any, ...]]):
    """Steps that are drawn in order, then applied in order.

    Args:
        steps: any number, none included.
    """

    parameters_type = tuple

    def __init__(self, steps: Sequence[Step[Any]]) -> None:
        self.steps = tuple(steps)

    def draw(self, rng: Generator) -> tuple[Any, ...]:
        """The parameters of each."""
        return tuple(step.draw(rng) for step in self.steps)

    def apply(self, sample: Sample, parameters: tuple[Any, ...]) -> Sample:
        """What all of them make of it."""
        for step, drawn in zip(self.steps, parameters, strict=True):
            sample = step.apply(sample, drawn)
        return sample

    def record(self, parameters: tuple[Any, ...]) -> Any:
        """A list of ``{"step": its name, "settings": see Step.settings, "parameters": its record}``."""
        return [
            {"step": type(step).__name__, "settings": step.settings, "parameters": step.record(drawn)}
            for step, drawn in zip(self.steps, parameters, strict=True)
        ]

    def parameters_from(self, record: Any) -> tuple[Any, ...]:
        """The parameters of each.

        Raises:
            UsageError: the record is of other steps, or of steps that were set up in another way.
        """
        names = [type(step).__name__ for step in self.steps]
        found = [entry.get("step") for entry in record] if isinstance(record, (list, tuple)) else record
        if found != names:
            raise UsageError(
                f"record: expected the steps {names}, got {found}; replay it with the steps that made it"
            )
        for step, entry in zip(self.steps, record, strict=True):
            if (made_with := entry.get("settings")) != step.settings:
                raise UsageError(
                    f"record of {entry['step']}: expected one that was made with {step.settings}, got one that was made "
                    f"with {made_with}; replay it with the steps that made it"
                )
        return tuple(
            step.parameters_from(entry["parameters"]) for step, entry in zip(self.steps, record, strict=True)
        )
