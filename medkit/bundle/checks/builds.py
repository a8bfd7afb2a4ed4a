"""Both configs as a whole: every part can be built, and training trains the network that inference runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from medkit.bundle.checks.finding import Note
from medkit.bundle.instance import one_line, root_cause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from medkit.bundle.checks.parts import Parts
    from medkit.bundle.checks.subject import Subject

__all__ = ["inference_config", "train_config"]


def inference_config(subject: Subject) -> Iterator[str | Note]:
    """Every part of the inference config can be built."""
    yield from _built(subject.inference)


def train_config(subject: Subject) -> Iterator[str | Note]:
    """Every part of the train config can be built, the optimizer too; the network is that of inference."""
    if not subject.has_train:
        yield (
            "configs/train.json: missing; build it with: medkit bundle build" if subject.own else Note("none")
        )
        return
    yield from _built(subject.train)
    if not subject.train.failures:
        yield from _optimizer(subject)
        yield from _same_network(subject)


def _built(parts: Parts) -> Iterator[str | Note]:
    yield from parts.failures.values()
    if parts.stood_in:
        yield Note(f"built without data, with empty lists for {', '.join(parts.stood_in)}")


def _optimizer(subject: Subject) -> Iterator[str]:
    """Lightning's module makes its optimizer when a training begins; here it does so now."""
    module: Any = subject.train.instance.build("module") if "module" in subject.train.instance else None
    if not hasattr(module, "configure_optimizers"):
        return
    try:
        module.configure_optimizers()
    except Exception as error:
        cause = root_cause(error)
        yield (
            f"{subject.where('train')}: 'module': its optimizer or schedule cannot be made: "
            f"{type(cause).__name__}: {one_line(cause)}"
        )


def _same_network(subject: Subject) -> Iterator[str]:
    key = "network_def"
    trained = subject.train.instance.build(key) if key in subject.train.instance else None
    if isinstance(trained, nn.Module):
        shapes = [{n: t.shape for n, t in net.state_dict().items()} for net in (trained, subject.network)]
        if shapes[0] != shapes[1]:
            yield (
                f"{subject.where('train')}: '{key}': its weights would not fit 'network_def' of "
                f"{subject.where('inference')}; make them the same"
            )
