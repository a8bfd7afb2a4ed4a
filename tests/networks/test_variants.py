"""Networks with options that ``SMALL`` leaves alone: they learn everywhere, and hold for any size, traced or as ONNX."""

from __future__ import annotations

import onnxruntime
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from torch import nn

from medkit.networks import create
from tests.networks.small_arguments import SMALL

# By what the variant is, as small as can be: the name, and what differs from ``SMALL``.
VARIANTS = {
    "agunet, bare": ("agunet", {"multi_scale": False, "attention_gates": False}),
    "agunet, deep supervision": ("agunet", {"deep_supervision": True}),
    "agunet, strides": ("agunet", {"strides": ((2, 1, 2), (1, 2, 2))}),
    "daunet, gates": ("daunet", {"attention_gates": True}),
    "daunet, gates and deep supervision": ("daunet", {"attention_gates": True, "deep_supervision": True}),
    "dynunet, deep supervision": (
        "dynunet",
        {
            "kernel_size": (3, 3, 3, 3), "strides": (1, 2, 2, 2), "upsample_kernel_size": (2, 2, 2),
            "filters": (4, 4, 8, 8), "deep_supervision": True, "deep_supr_num": 2
        },
    ),
    "dynunet, residual": ("dynunet", {"res_block": True}),
    "lightnet, twin": ("lightnet", {"scan": False}),
    "lightnet, no stem": ("lightnet", {"halvings": 0}),
    "mednext, deep supervision": ("mednext", {"deep_supervision": True}),
    "mobile_mamba, twin": ("mobile_mamba", {"scan": False}),
    "scan_unet, strides": ("scan_unet", {"strides": ((2, 1, 2), (1, 2, 2))}),
    "scan_unet, twin": ("scan_unet", {"scan": False}),
    "segmamba, all stages": ("segmamba", {"depth": 2}),
    "segmamba, twin": ("segmamba", {"scan": False}),
    "umamba, enc": ("umamba", {"variant": "enc"}),
    "umamba, enc, twin": ("umamba", {"variant": "enc", "scan": False}),
    "umamba, twin": ("umamba", {"scan": False}),
}  # fmt: skip
CHANNELS, CLASSES = 1, 3
SIZES, OTHERS = (8, 9, 12), ((8, 12, 16), (5, 18, 7), (1, 1, 1))
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def small(variant: str, spatial_dims: int = 3) -> nn.Module:
    """The variant with the same weights every time, in training mode."""
    name, options = VARIANTS[variant]
    arguments = SMALL[name] | options
    if spatial_dims == 2:  # strides along the last axes
        arguments |= (
            {"strides": [step if isinstance(step, int) else step[1:] for step in arguments["strides"]]}
            if "strides" in arguments
            else {}
        )
    torch.manual_seed(0)
    return create(
        name, spatial_dims=spatial_dims, in_channels=CHANNELS, out_channels=CLASSES, **arguments
    ).train()


def image(sizes: tuple[int, ...] = SIZES) -> torch.Tensor:
    return torch.randn(2, CHANNELS, *sizes, generator=torch.Generator().manual_seed(1))


def levels_of(output: torch.Tensor | tuple[torch.Tensor, ...], spatial_dims: int) -> list[torch.Tensor]:
    if isinstance(output, tuple):
        return list(output)
    return list(output.unbind(1)) if output.ndim == spatial_dims + 3 else [output]


@every_variant
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_parameter_learns_in_2d_and_3d(variant, spatial_dims):
    network, sizes = small(variant, spatial_dims), SIZES[-spatial_dims:]
    levels = levels_of(network(image(sizes)), spatial_dims)
    assert (len(levels) > 1) == ("deep supervision" in variant)
    assert levels[0].shape == (2, CLASSES, *sizes)
    assert all(torch.isfinite(level).all() for level in levels)
    sum((level * torch.randn_like(level)).sum() for level in levels).backward()
    learning = {key: p.grad for key, p in network.named_parameters() if p.requires_grad}
    assert [key for key, gradient in learning.items() if gradient is None or not gradient.any()] == []


@every_variant
def test_deep_supervision_is_for_training_alone(variant):
    network = small(variant).eval()
    with torch.no_grad():
        assert network(image()).shape == (2, CLASSES, *SIZES)


@every_variant
def test_a_trace_holds_for_other_sizes(variant):
    network = small(variant).eval()
    with torch.no_grad():
        traced = torch.jit.trace(network, image(), check_trace=False)
        for sizes in (SIZES, *OTHERS):
            torch.testing.assert_close(traced(image(sizes)), network(image(sizes)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["agunet, deep supervision", "dynunet, residual"])
def test_onnx_runtime_gives_the_same_at_other_sizes(variant, tmp_path):
    """Where each size is left open: those that pad, and those that do not."""
    network = small(variant).eval()
    open_axes = (dict.fromkeys((0, 2, 3, 4), torch.export.Dim.DYNAMIC),)
    program = torch.onnx.export(
        network, (image((9, 14, 7)),), dynamic_shapes=open_axes, dynamo=True, verbose=False
    )
    program.save(tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    for sizes in (SIZES, *OTHERS):
        (found,) = session.run(None, {session.get_inputs()[0].name: image(sizes).numpy()})
        with torch.no_grad():
            expected = network(image(sizes))
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=1e-4)


def test_onnx_of_one_size_pads_and_refuses_others(tmp_path):
    network = small("scan_unet, twin").eval()
    program = torch.onnx.export(network, (image(),), dynamo=True, verbose=False)
    program.save(tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    (found,) = session.run(None, {name: image().numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), network(image()), rtol=1e-3, atol=1e-4)
    with pytest.raises(InvalidArgument, match="Got invalid dimensions"):
        session.run(None, {name: image(OTHERS[0]).numpy()})
