"""Look at a training before it begins, for what PyTorch would tell in the first step, or nobody at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medkit.bundle.instance import ConfigInstance, one_line, root_cause
from medkit.bundle.randomness import kept_random_state
from medkit.bundle.shared_parts import SHARED, shared_overrides
from medkit.errors import UsageError

if TYPE_CHECKING:
    from medkit.bundle.store import BundleFolder

__all__ = ["check_training"]

_NETWORK = "network_def"
_WHOLE = "--set 'network_def={_target_: medkit.networks.create, name: unet, ...}'"


def check_training(bundle: BundleFolder, config: ConfigInstance, overrides: dict[str, Any]) -> None:
    """Build the parts of a training, and let its network see one patch of zeros.

    Args:
        bundle: to be trained.
        config: of the training, for this alone: its network is changed.
        overrides: that it has.

    Raises:
        UsageError: a part cannot be built, the network takes no such patch, or does not give one channel a class; the
            loss does not take what it gives; or inference, with the settings that it shares, would have another network.
    """
    with kept_random_state():
        if _NETWORK in config and not isinstance(found := config.build(_NETWORK), nn.Module):
            raise UsageError(
                f"{config.path}: '{_NETWORK}': expected a network, got {type(found).__name__} ({found!r:.80}); give a "
                f"component with its _target_, such as {_WHOLE}"
            )
        if (image := _patch(bundle, config)) is not None:
            _check_network(bundle, config, image)
        module = config.build("module")
        if not isinstance(found := getattr(module, "network", None), nn.Module):
            raise UsageError(
                f"{config.path}: 'network': expected a network, got {type(found).__name__} ({found!r:.80}); change "
                f"'{_NETWORK}' in its place, such as {_WHOLE}"
            )
        if image is not None:
            _check_loss(config, module, image)
        _check_inference(bundle, found, overrides)


def _patch(bundle: BundleFolder, config: ConfigInstance) -> Tensor | None:
    """Zeros ``(B, C, *sizes)`` as the training would have them; ``None`` where nothing tells of channels or sizes."""
    channels = _declared(bundle, "inputs", "image")
    key = next((key for key in ("sample_size", "patch_size") if key in config), None)
    if channels is None or key is None:
        return None
    batch = config.build("batch_size") if "batch_size" in config else 1
    device = config.build("device") if "device" in config else "cpu"
    # Two: batch normalisation of one sample may fail where that of a batch does not.
    return torch.zeros(min(batch, 2), channels, *config.build(key), device=device)


def _declared(bundle: BundleFolder, side: str, name: str) -> int | None:
    """Number of channels by the metadata."""
    node: Any = bundle.metadata
    for key in ("network_data_format", side, name, "num_channels"):
        node = node.get(key) if isinstance(node, dict) else None
    return node if isinstance(node, int) else None


def _check_network(bundle: BundleFolder, config: ConfigInstance, image: Tensor) -> None:
    """In evaluation, where also those with deep supervision give one tensor."""
    network = config.build(_NETWORK).to(image.device).eval()
    given = _given(network, config, image)
    classes = _declared(bundle, "outputs", "pred")
    expected = (len(image), classes or given.shape[1], *image.shape[2:])
    if given.shape != expected:
        raise UsageError(
            f"{config.path}: '{_NETWORK}': expected logits {expected} for a patch {tuple(image.shape)}, a channel for "
            f"each class of {bundle.name}'s metadata, got {tuple(given.shape)}; change out_channels, or the argument "
            "that makes the network give other sizes"
        )
    network.train()


def _given(network: nn.Module, config: ConfigInstance, image: Tensor) -> Tensor:
    try:
        with torch.no_grad():
            given = network(image)
    except Exception as error:
        cause = root_cause(error)
        raise UsageError(
            f"{config.path}: '{_NETWORK}': expected a network for patches {tuple(image.shape)} (batch, channels by the "
            f"bundle's metadata, sizes), got {type(cause).__name__}: {one_line(cause)}; change spatial_dims, "
            "in_channels or patch_size"
        ) from error
    if not isinstance(given, Tensor):
        raise UsageError(
            f"{config.path}: '{_NETWORK}': expected one tensor of logits from the network, got "
            f"{type(given).__name__}; leave deep supervision out, or have its levels stacked"
        )
    return given


def _check_loss(config: ConfigInstance, module: Any, image: Tensor) -> None:
    """What a step of the training does with the logits, which deep supervision makes several of."""
    module.to(image.device)  # a loss may have buffers
    logits = _given(module.network.train(), config, image)
    loss = getattr(module, "loss", None)
    if loss is None:
        return
    try:
        with torch.no_grad():
            loss(logits.float(), torch.zeros(len(image), 1, *image.shape[2:], device=image.device))
    except Exception as error:
        cause = root_cause(error)
        raise UsageError(
            f"{config.path}: 'loss': expected one that takes logits {tuple(logits.shape)} for patches "
            f"{tuple(image.shape)}, got {type(cause).__name__}: {one_line(cause)}; leave deep supervision out, or take "
            "medkit.losses.deep_supervision"
        ) from error


def _check_inference(bundle: BundleFolder, network: nn.Module, overrides: dict[str, Any]) -> None:
    """Weights that fit the config of inference, and parts of it that can be built."""
    inference = ConfigInstance(bundle, "inference", shared_overrides(bundle, overrides))
    built = {part: inference.build(part) for part in SHARED if part in inference}
    if _NETWORK not in built:
        return
    trained, wanted = (
        {name: value.shape for name, value in one.state_dict().items()} for one in (network, built[_NETWORK])
    )
    if trained != wanted:
        apart = sorted(name for name in trained.keys() | wanted if trained.get(name) != wanted.get(name))
        raise UsageError(
            f"{inference.path}: '{_NETWORK}': expected the network that is trained, got one that its weights do not fit "
            f"({len(apart)} of them, {apart[0]} for one); change '{_NETWORK}', and not 'network' or 'module'"
        )
