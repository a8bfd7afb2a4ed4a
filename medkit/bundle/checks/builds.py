"""The configs as a whole: every part can be built, and training trains the network that inference runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monai.transforms import Compose
from torch import nn
from torch.utils.data import DataLoader, Dataset

from medkit.bundle.checks.finding import Note
from medkit.bundle.instance import one_line, root_cause
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from medkit.bundle.checks.parts import Parts
    from medkit.bundle.checks.subject import Subject

__all__ = ["inference_config", "train_config"]


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda part: isinstance(part, kind)


def _has(*names: str) -> Callable[[Any], bool]:
    return lambda part: any(callable(getattr(part, name, None)) for name in names)


def _all_have(name: str) -> Callable[[Any], bool]:
    return lambda parts: isinstance(parts, list) and all(map(_has(name), parts))


_ROLES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "network": ("a torch.nn.Module", _is(nn.Module)),
    "preprocessing": ("a transform", callable),
    "dataset": ("a data set", _is(Dataset)),
    "dataloader": ("a data loader", _is(DataLoader)),
    "inferer": ("an inferer", callable),
    "postprocessing": ("a transform", callable),
    "handlers": ("a list of handlers", _all_have("attach")),
    "evaluator": ("an engine with run()", _has("run")),
    "loss": ("a loss function", callable),
    "augmentation": ("a transform", callable),
    "callbacks": ("a list of Lightning callbacks", _all_have("on_train_start")),
    "module": ("a LightningModule", _has("training_step")),
    "datamodule": ("a LightningDataModule", _has("train_dataloader")),
    "train::dataset": ("a data set", _is(Dataset)),
    "train::inferer": ("an inferer", callable),
    "train::trainer": ("a trainer with fit() or run()", _has("fit", "run")),
    "validate::dataset": ("a data set", _is(Dataset)),
}


def inference_config(subject: Subject) -> Iterator[str | Note]:
    """Every part of the inference config can be built."""
    yield from _built(subject.inference, subject.where("inference"))


def train_config(subject: Subject) -> Iterator[str | Note]:
    """Every part of a training config can be built, the optimizer too; the network is that of inference."""
    if "train" not in subject.trainings:
        needed = subject.own and "weights_of" not in subject.folder.metadata
        yield "configs/train.json: missing; build it with: medkit bundle build" if needed else Note("none")
    for kind, parts in subject.trainings.items():
        yield from _built(parts, subject.where(kind))
        if not parts.failures:
            yield from _optimizer(parts, subject.where(kind))
            yield from _same_network(parts, subject)


def _built(parts: Parts, where: str) -> Iterator[str | Note]:
    yield from parts.failures.values()
    yield from _roles(parts, where)
    yield from _transforms(parts, where)
    if parts.stood_in:
        yield Note(f"{where}: built without data, with empty lists for {', '.join(parts.stood_in)}")


def _roles(parts: Parts, where: str) -> Iterator[str]:
    """Parts that others call by name can do what they are called for."""
    for key, (role, serves) in _ROLES.items():
        if key not in parts:
            continue
        try:
            part = parts.instance.build(key)
        except UsageError:  # told already, under its own key or that of what it needs
            continue
        if not serves(part):
            yield f"{where}: '{key}': expected {role}, got {part!r:.80}"


def _transforms(parts: Parts, where: str) -> Iterator[str]:
    """MONAI's Compose takes anything for a transform, and stops at it when it runs."""
    for key, part in parts.built.items():
        if isinstance(part, Compose):
            for step in part.transforms:
                if not callable(step):
                    yield f"{where}: '{key}': expected transforms, got {step!r:.80} among them"


def _optimizer(parts: Parts, where: str) -> Iterator[str]:
    """Lightning's module makes its optimizer when a training begins; here it does so now."""
    module: Any = parts.instance.build("module") if "module" in parts else None
    if not hasattr(module, "configure_optimizers"):
        return
    try:
        module.configure_optimizers()
    except Exception as error:
        cause = root_cause(error)
        yield (
            f"{where}: 'module': its optimizer or schedule cannot be made: "
            f"{type(cause).__name__}: {one_line(cause)}"
        )


def _same_network(parts: Parts, subject: Subject) -> Iterator[str]:
    key = "network_def"
    trained = parts.instance.build(key) if key in parts else None
    if isinstance(trained, nn.Module):
        shapes = [{n: t.shape for n, t in net.state_dict().items()} for net in (trained, subject.network)]
        if shapes[0] != shapes[1]:
            yield (
                f"{subject.where(parts.kind)}: '{key}': its weights would not fit 'network_def' of "
                f"{subject.where('inference')}; make them the same"
            )
