"""What a step of synthesis is: parameters drawn, recorded, and applied without chance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from medkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Generator

    from medkit.transforms.synthesis.sample import Sample

__all__ = ["Step"]

Parameters = TypeVar("Parameters")


class Step(ABC, Generic[Parameters]):
    """One thing that happens to a sample.

    A step is described by its constructor's arguments, most of them the ranges that its parameters come from, and holds
    nothing else.
    """

    parameters_type: ClassVar[type[Any]]  # a frozen dataclass of numbers, booleans, names and tuples of them

    @abstractmethod
    def draw(self, rng: Generator) -> Parameters:
        """Parameters for one sample.

        Args:
            rng: on the CPU, whatever the device of the sample.
        """

    @abstractmethod
    def apply(self, sample: Sample, parameters: Parameters) -> Sample:
        """A new sample; with the same parameters, device and number of threads the same to the last bit."""

    @property
    def settings(self) -> dict[str, Any]:
        """What :meth:`apply` takes of the constructor's arguments, as JSON has it: with others it makes others."""
        return {}

    def record(self, parameters: Parameters) -> Any:
        """The parameters as JSON has them."""
        return _lists(asdict(parameters))  # type: ignore[call-overload]

    def parameters_from(self, record: Any) -> Parameters:
        """The parameters that a record tells.

        Raises:
            UsageError: it is not of this step.
        """
        expected = {field.name for field in fields(self.parameters_type)}
        if not isinstance(record, Mapping) or set(record) != expected:
            got = sorted(record) if isinstance(record, Mapping) else record
            raise UsageError(
                f"record of {type(self).__name__}: expected {sorted(expected)}, got {got!r}; replay it with the "
                "steps that made it"
            )
        parameters: Parameters = self.parameters_type(
            **{name: _tuples(value) for name, value in record.items()}
        )
        return parameters


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _lists(item) for name, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value
