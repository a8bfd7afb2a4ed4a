from types import SimpleNamespace

import pytest
import torch
from torch import nn

from medkit.training.callbacks.shallow_grid_guard import ShallowGridGuard


@pytest.mark.parametrize(("device", "watches"), [("cpu", True), ("meta", False)])
def test_it_watches_convolutions_on_a_cpu_and_its_hooks_go(device, watches):
    layer = nn.Conv3d(4, 4, 3, padding=1)
    module = SimpleNamespace(modules=layer.modules, device=torch.device(device))
    guard = ShallowGridGuard()
    guard.on_fit_start(None, module)
    assert bool(layer._forward_hooks) is watches
    guard.teardown(None, module, "fit")
    assert not layer._forward_hooks
