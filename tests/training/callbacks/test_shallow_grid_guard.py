from types import SimpleNamespace

import pytest
import torch
from torch import nn

from medkit.errors import UsageError
from medkit.training.callbacks.shallow_grid_guard import ShallowGridGuard


def first_batch(depth: int, *, channels_last: bool = True, bf16: bool = True) -> None:
    network = nn.Sequential(nn.Conv3d(4, 4, 3, padding=1), nn.Conv3d(4, 4, 3, stride=2, padding=1))
    if channels_last:
        network = network.to(memory_format=torch.channels_last_3d)
    module = SimpleNamespace(network=network, device=torch.device("cpu"))
    guard = ShallowGridGuard()
    guard.on_train_start(None, module)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        network(torch.randn(1, 4, depth, 6, 6))
    guard.on_train_batch_end(None, module, None, None, 0)
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.randn(1, 4, 2, 6, 6))


def test_two_voxels_deep_in_bf16_channels_last_is_refused():
    with pytest.raises(UsageError, match=r"layer '0' sees a feature map 2 voxels deep .* patch_size"):
        first_batch(2)


@pytest.mark.parametrize(("depth", "options"), [(3, {}), (2, {"channels_last": False}), (2, {"bf16": False})])
def test_what_is_clean_passes_and_the_hooks_go(depth, options):
    first_batch(depth, **options)
