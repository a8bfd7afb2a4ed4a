"""The weights: plain, finite, small enough, made for this network, and those of the exported `model.ts`."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import torch
from monai.networks.utils import convert_to_torchscript

from medkit.bundle.checks.finding import Note
from medkit.bundle.checks.network import run_network
from medkit.bundle.instance import one_line
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import nn

    from medkit.bundle.checks.subject import Subject

__all__ = ["SIZE_LIMIT", "torchscript", "weights"]

SIZE_LIMIT = 8_000_000  # bytes, for medkit's own bundles: they lie in git
_FILE, _SCRIPT = "models/model.pt", "models/model.ts"
_RESTORE = "restore the weights from a good checkpoint"
_SAVE = "save a plain state dict: torch.save(network.state_dict(), ...)"
_EXPORT = "export it anew with: python -m monai.bundle ckpt_export"


def weights(subject: Subject) -> Iterator[str | Note]:
    """The weights load safely, are finite and small enough, fit the network, and give finite results."""
    size = subject.folder.weights.stat().st_size if subject.folder.weights.is_file() else 0
    if subject.own and size > SIZE_LIMIT:
        yield f"{_FILE}: {size / 1e6:.1f} MB, expected at most {SIZE_LIMIT / 1e6:.0f} MB; use fewer filters"
    stored = _read_weights(subject)
    broken = [name for name, value in stored.items() if not torch.isfinite(value).all()]
    if broken:
        yield f"{_FILE}: '{broken[0]}' holds NaN or infinity{_more(broken)}; {_RESTORE}"
    if problem := _misfit(stored, subject.network.state_dict()):
        yield f"{_FILE}: does not fit 'network_def' of {subject.where('inference')}: {problem}"
        return
    _, output = run_network(_trained(subject), subject)
    if not broken and not torch.isfinite(output).all():
        yield f"{_FILE}: the network gives NaN or infinity on a random image; {_RESTORE}"


def _trained(subject: Subject) -> nn.Module:
    """The network with the weights, loaded in the way that the inference config says."""
    return subject.inference.instance.network_with_weights()


def _read_weights(subject: Subject) -> dict[str, torch.Tensor]:
    path = subject.folder.weights
    if not path.is_file():
        raise UsageError(f"{_FILE}: missing; train the bundle and adopt the run, or copy the weights there")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever unpickling raises
        raise UsageError(
            f"{_FILE}: cannot be loaded with weights_only=True ({one_line(error, 120)}); {_SAVE}"
        ) from error
    return _state_dict(content)


def _state_dict(content: Any) -> dict[str, torch.Tensor]:
    """The state dict itself, or the one below the key that MONAI and Deploy know."""
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = isinstance(content, dict) and all(isinstance(value, torch.Tensor) for value in content.values())
    if not tensors or not content:
        got = type(content).__name__
        raise UsageError(f"{_FILE}: expected a state dict, names to tensors, got {got}; {_SAVE}")
    return dict(content)


def _misfit(stored: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> str | None:
    """Why stored weights do not fit a network, or ``None``."""
    if lacking := [name for name in wanted if name not in stored]:
        return f"'{lacking[0]}' is not stored{_more(lacking)}"
    if extra := [name for name in stored if name not in wanted]:
        return f"the network has no '{extra[0]}'{_more(extra)}"
    if differing := [name for name in wanted if stored[name].shape != wanted[name].shape]:
        got, expected = (tuple(weights[differing[0]].shape) for weights in (stored, wanted))
        return f"'{differing[0]}' is {got}, the network wants {expected}{_more(differing)}"
    return None


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def torchscript(subject: Subject) -> Iterator[str | Note]:
    """A ``model.ts`` gives what ``model.pt`` gives, carries its configs, and can be exported anew."""
    path = subject.folder.root / _SCRIPT
    if not path.is_file():
        yield Note(f"no {_SCRIPT}")
        return
    network = _trained(subject)
    given, expected = run_network(network, subject)
    script = _read_script(path)
    yield from _compare_script(script.eval(), given, expected)
    inside = {name.partition("/")[2] for name in zipfile.ZipFile(path).namelist()}
    for name in ("extra/metadata.json", "extra/inference.json"):
        if name not in inside:
            yield f"{_SCRIPT}: holds no {name}, which MONAI Deploy reads; {_EXPORT}"
    try:
        convert_to_torchscript(network)
    except Exception as error:
        yield f"{_SCRIPT}: the network cannot be exported to TorchScript: {one_line(error)}; delete the file"


def _read_script(path: Path) -> nn.Module:
    try:
        script: nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:
        raise UsageError(f"{_SCRIPT}: cannot be loaded: {one_line(error)}; {_EXPORT}") from error
    return script


def _compare_script(script: nn.Module, given: torch.Tensor, expected: torch.Tensor) -> Iterator[str]:
    with torch.no_grad():
        output = script(given)
    if output.shape != expected.shape:
        yield f"{_SCRIPT}: gives {tuple(output.shape)}, {_FILE} gives {tuple(expected.shape)}; {_EXPORT}"
    elif not torch.allclose(output, expected, rtol=1e-3, atol=1e-4):
        apart = (output - expected).abs().max().item()
        yield f"{_SCRIPT}: its output is up to {apart:.3g} from that of {_FILE}; {_EXPORT}"
