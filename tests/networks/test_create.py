"""Every network of the registry: it runs, learns everywhere, repeats itself, and says what is wrong in a call."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from medkit.errors import UsageError
from medkit.networks import create, names
from medkit.ops.shallow_convolution import give_room
from tests.networks.small_arguments import SMALL

CHANNELS, CLASSES = 2, 3
SHAPE = (2, CHANNELS, 16, 20, 12)
every_network = pytest.mark.parametrize("name", names())


def small(name: str, spatial_dims: int = 3) -> nn.Module:
    """The network with the same weights every time, in training mode."""
    torch.manual_seed(0)
    return create(
        name, spatial_dims=spatial_dims, in_channels=CHANNELS, out_channels=CLASSES, **SMALL[name]
    ).train()


def image() -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


def gradients(network: nn.Module) -> dict[str, torch.Tensor | None]:
    """Gradients of a loss that every voxel of the output has its own part in."""
    torch.manual_seed(2)
    output = network(image())
    (output * torch.randn_like(output)).sum().backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def test_the_table_has_every_network_and_no_other():
    assert names(), "the registry is empty"
    missing, others = sorted(set(names()) - SMALL.keys()), sorted(SMALL.keys() - set(names()))
    assert not missing, f"add a line for each of {missing} to SMALL in tests/networks/small_arguments.py"
    assert not others, f"no network of that name: take {others} out of tests/networks/small_arguments.py"


def test_a_network_without_small_arguments_is_told_where_they_belong():
    with pytest.raises(
        pytest.fail.Exception, match="'dilated': add its line to SMALL in tests/networks/small_arg"
    ):
        small("dilated")


@every_network
def test_logits_on_the_grid_of_the_image(name):
    output = small(name)(image())
    assert output.shape == (SHAPE[0], CLASSES, *SHAPE[2:])
    assert output.dtype == torch.float32
    assert torch.isfinite(output).all()


@every_network
def test_every_parameter_gets_a_gradient(name):
    found = gradients(small(name))
    assert found
    assert [key for key, gradient in found.items() if gradient is None] == []
    assert [key for key, gradient in found.items() if not torch.isfinite(gradient).all()] == []
    assert [key for key, gradient in found.items() if not gradient.any()] == []


@every_network
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_channels_last(name, spatial_dims):
    """As the training configs have it: convolutions are several times faster then."""
    last = {2: torch.channels_last, 3: torch.channels_last_3d}[spatial_dims]
    network = small(name, spatial_dims)
    given = image() if spatial_dims == 3 else image()[..., 0]
    expected = network(given)
    output = network.to(memory_format=last)(given.to(memory_format=last))
    torch.testing.assert_close(output, expected, rtol=1e-3, atol=1e-4)


@every_network
def test_bfloat16_autocast(name):
    network = small(name)
    give_room(network)  # as a training on a CPU has it
    expected = network(image())
    with torch.autocast("cpu", torch.bfloat16):
        output = network(image())
    output.float().square().mean().backward()
    assert output.dtype == torch.bfloat16
    assert torch.isfinite(output).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
    # Eight bits of mantissa, and several layers of them.
    assert (output.float() - expected).abs().mean() < 0.1 * expected.abs().mean()


@pytest.mark.parametrize("name", [name for name in names() if name != "swin_unetr"])  # of MONAI, and slow so
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision(name, dtype):
    """The whole network and the image, with no autocast."""
    network, given = small(name).eval(), image()[:, :, :9, :8, :7]
    with torch.no_grad():
        expected = network(given)
        output = network.to(dtype)(given.to(dtype))
    assert output.dtype == dtype
    assert (output.float() - expected).abs().mean() < 0.1 * expected.abs().mean()


@every_network
def test_a_repeat_gives_the_same_numbers(name):
    first, second = small(name), small(name)
    assert torch.equal(first(image()), second(image()))
    once, again = gradients(first), gradients(second)
    assert all(torch.equal(once[key], again[key]) for key in once)


@every_network
def test_inference_does_not_depend_on_the_neighbours_in_a_batch(name):
    network = small(name).eval()
    with torch.no_grad():
        both, alone = network(image()), network(image()[1:])
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-5)


@every_network
@pytest.mark.parametrize("sizes", [(17, 21, 13), (1, 1, 1), (3, 30, 5), (9, 14), (1, 1)])
def test_images_of_any_size(name, sizes):
    network = small(name, len(sizes))
    output = network(torch.randn(2, CHANNELS, *sizes, generator=torch.Generator().manual_seed(1)))
    assert output.shape == (2, CLASSES, *sizes)
    assert torch.isfinite(output).all()
    output.square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


@every_network
def test_a_smaller_memory_gives_the_same_numbers(name):
    """Activations computed again in the backward pass."""
    plain, saving = small(name), small(name)
    expected = gradients(plain)
    torch.manual_seed(2)
    output = checkpoint(saving, image(), use_reentrant=False)
    (output * torch.randn_like(output)).sum().backward()
    found = {key: parameter.grad for key, parameter in saving.named_parameters()}
    assert all(torch.equal(found[key], gradient) for key, gradient in expected.items())


@every_network
def test_it_can_be_exported(name):
    network = small(name).eval()
    program = torch.export.export(network, (image(),))
    with torch.no_grad():
        assert torch.equal(program.module()(image()), network(image()))


@every_network
@pytest.mark.parametrize("grad", [False, True])
def test_it_can_be_traced(name, grad):
    """Without gradients, as ``monai.bundle ckpt_export`` does, and with them, as one writes it first."""
    network, given = small(name).eval(), image()[:1, :, :8, :9, :7]
    with torch.set_grad_enabled(grad):
        traced = torch.jit.trace(network, given)
        assert torch.equal(traced(given), network(given))


@every_network
@pytest.mark.parametrize("sizes", [(16, 20, 12), (5, 3, 7)])
def test_a_trace_holds_for_other_sizes(name, sizes):
    """Which pad otherwise, or not at all: the same numbers, or a refusal."""
    network = small(name).eval()
    with torch.no_grad():
        traced = torch.jit.trace(network, image()[..., : sizes[0], : sizes[1], : sizes[2]], check_trace=False)
        for others in ((16, 20, 12), (1, 1, 1), (17, 33, 14)):
            given = torch.randn(1, CHANNELS, *others, generator=torch.Generator().manual_seed(1))
            if name == "swin_unetr" and max(others) > 32:
                with pytest.raises(RuntimeError, match="Expected size 64 but got size 32"):
                    traced(given)
            else:
                torch.testing.assert_close(traced(given), network(given), rtol=1e-4, atol=1e-5)


@every_network
def test_onnx_runtime_gives_the_same(name, tmp_path):
    network = small(name).eval()
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.onnx.export(network, (image(),), dynamic_shapes=shapes, dynamo=True, verbose=False)
    program.save(tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    for given in (image(), torch.cat([image(), image().flip(2)])):
        (found,) = session.run(None, {session.get_inputs()[0].name: given.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(found), network(given), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "hint"), [("dynunett", "did you mean 'dynunet'?"), ("UNet", "did you mean 'unet'?"), ("?", "")]
)
def test_an_unknown_name(name, hint):
    with pytest.raises(UsageError) as caught:
        create(name)
    message = str(caught.value)
    assert message.startswith(f"no network '{name}': {hint}")
    assert message.endswith(f"known networks: {', '.join(names())}")


@every_network
def test_an_argument_that_the_network_does_not_take(name):
    with pytest.raises(UsageError, match=f"'{name}' takes no 'in_chanels': did you mean 'in_channels'"):
        create(name, spatial_dims=3, in_chanels=1, out_channels=1, **SMALL[name])


@pytest.mark.parametrize("name", ["attention_unet", "dynunet", "unet"])
def test_an_argument_that_is_missing(name):
    with pytest.raises(UsageError, match=f"network '{name}' needs .*out_channels"):
        create(name, spatial_dims=3, in_channels=1)


@every_network
def test_what_is_said_of_missing_arguments_is_enough(name):
    """Whoever adds the example to what was given has a network."""
    given = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2}
    example = ""
    try:
        create(name, **given)
    except UsageError as error:
        _, _, example = str(error).partition(" as well, for example ")
    network = create(name, **given, **eval(f"dict({example})"))
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 1, 9, 12)).shape == (1, 2, 9, 12)


def test_no_example_is_given_for_an_argument_without_one():
    with pytest.raises(UsageError, match=r"^network 'unet' needs out_channels as well$"):
        create("unet", spatial_dims=3, in_channels=1, channels=[8, 16], strides=[2])


def test_dynunet_begins_at_the_size_of_the_image():
    arguments = SMALL["dynunet"] | {"strides": (2, 2, 2)}
    with pytest.raises(UsageError, match="network 'dynunet': expected strides that begin with 1, got 2"):
        create("dynunet", spatial_dims=3, in_channels=1, out_channels=2, **arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("unet", {"strides": ()}, "strides"),
        ("unet", {"strides": (2, 0)}, r"expected strides of 1 or more for each of 3 axes, got \(0, 0, 0\)"),
        ("attention_unet", {"strides": ((2, 2), 2)}, r"expected strides of .* 3 axes, got \(2, 2\)"),
        ("attention_unet", {"strides": ()}, "a stride between every two stages, got 3 stages and 0 strides"),
        (
            "attention_unet",
            {"strides": (2, 2, 2)},
            "a stride between every two stages, got 3 stages and 3 strides",
        ),
        ("unet", {"strides": (2, 2, 2)}, "a stride between every two stages, got 3 stages and 3 strides"),
        ("segmamba", {"scanned": 3}, r"expected scanned from 0 to .* below the finest \(2\), got 3$"),
        ("agunet", {"filters": (4,), "strides": ()}, r"expected two stages or more, .*, got \(4,\)"),
        ("daunet", {"filters": (0, 8, 8)}, r"expected filters to be .* 1 or more, .*, got \(0, 8, 8\)"),
        ("umamba", {"filters": (4,), "strides": ()}, r"expected two stages or more, .*, got \(4,\)"),
        (
            "segmamba",
            {"filters": (4,), "strides": (), "scanned": 0},
            "expected two stages or more",
        ),
        ("segmamba", {"strides": ((2, 2), 2)}, r"expected strides of .* 3 axes, got \(2, 2\)"),
        ("scan_unet", {"states": 0}, "expected states of 1 or more, got 0"),
        ("lightnet", {"heads": 0}, "expected heads of 1 or more, got 0"),
        ("lightnet", {"halvings": -1}, "expected halvings of 0 or more .*, got -1"),
        ("mobile_mamba", {"filters": (0, 8)}, r"expected filters to be .* 1 or more, .*, got \(0, 8\)"),
        (
            "mobile_mamba",
            {"kernels": ((4,), (3,))},
            r"expected kernels of odd sizes, one or more, got \(4,\)",
        ),
        ("mobile_mamba", {"kernels": ((), (3,))}, r"expected kernels of odd sizes, one or more, got \(\)"),
    ],
)
def test_arguments_that_the_network_refuses(name, arguments, message):
    with pytest.raises(UsageError, match=f"network '{name}': .*{message}"):
        create(name, spatial_dims=3, in_channels=1, out_channels=2, **SMALL[name] | arguments)


@every_network
@pytest.mark.parametrize(
    ("argument", "wrong", "message"),
    [
        ("spatial_dims", 4, "expected spatial_dims to be 2 or 3, got 4"),
        ("spatial_dims", 1, "expected spatial_dims to be 2 or 3, got 1"),
        ("spatial_dims", "3", "expected spatial_dims to be 2 or 3, got '3'"),
        ("in_channels", 0, "expected in_channels to be a whole number of 1 or more, got 0"),
        ("in_channels", True, "expected in_channels to be a whole number of 1 or more, got True"),
        ("out_channels", -2, "expected out_channels to be a whole number of 1 or more, got -2"),
        ("out_channels", 2.0, "expected out_channels to be a whole number of 1 or more, got 2.0"),
    ],
)
def test_axes_and_channels_that_no_network_takes(name, argument, wrong, message):
    arguments = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, **SMALL[name], argument: wrong}
    with pytest.raises(UsageError, match=f"^network '{name}': {message}$"):
        create(name, **arguments)


@pytest.mark.parametrize("name", [name for name in names() if {"filters", "channels"} & SMALL[name].keys()])
@pytest.mark.parametrize("wrong", [8, "8", [], [8, "a", 3], [8, 0, 4], [8, 8.0, 8]])
def test_channels_of_stages_that_no_network_takes(name, wrong):
    argument = "filters" if "filters" in SMALL[name] else "channels"
    arguments = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, **SMALL[name], argument: wrong}
    with pytest.raises(UsageError) as caught:
        create(name, **arguments)
    assert str(caught.value) == (
        f"network '{name}': expected {argument} to be a list of whole numbers of 1 or more, a stage's channels each, "
        f"such as [16, 32, 64], got {wrong!r}"
    )


@pytest.mark.parametrize("name", ["dynunet", "scan_unet", "unet"])
@pytest.mark.parametrize("wrong", [2, "22", [2, "2"], [2, [2, 2, 0.5]]])
def test_strides_that_no_network_takes(name, wrong):
    arguments = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, **SMALL[name], "strides": wrong}
    with pytest.raises(
        UsageError, match="expected strides to be a list of whole numbers, or of one for each axis"
    ):
        create(name, **arguments)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("attention_unet", 4),
        ("dynunet", (3, 4, 3)),
        ("dynunet", (3, (3, 2, 3), 3)),
        ("mednext", 4),
        ("unet", 0),
    ],
)
def test_kernels_that_would_change_the_size(name, wrong):
    arguments = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, **SMALL[name], "kernel_size": wrong}
    with pytest.raises(UsageError, match=r"expected kernel_size to be odd numbers such as 3, .*, got "):
        create(name, **arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "umamba",
            {"filters": (4, 8)},
            r"got 2 stages and 4 strides; strides=\(2, 2, 2, 2\) by default: give what fits the others",
        ),
        (
            "segmamba",
            {"filters": (4, 8), "strides": (2,)},
            r"\(1\), got 2; scanned=2 by default: give what fits",
        ),
        ("umamba", {"filters": (4, 8), "strides": (2, 2)}, "got 2 stages and 2 strides$"),
    ],
)
def test_defaults_that_do_not_fit_are_told_as_such(name, arguments, message):
    with pytest.raises(UsageError, match=message):
        create(name, spatial_dims=3, in_channels=1, out_channels=2, **arguments)


@pytest.mark.parametrize(
    ("name", "switch"),
    [("umamba", "scan"), ("segmamba", "scan"), ("lightnet", "scan"), ("daunet", "deep_supervision")],
)
@pytest.mark.parametrize("wrong", ["no", 0, None])
def test_switches_are_true_or_false(name, switch, wrong):
    with pytest.raises(UsageError, match=f"expected {switch} to be true or false, got {wrong!r}"):
        create(name, spatial_dims=3, in_channels=1, out_channels=2, **SMALL[name], **{switch: wrong})


@pytest.mark.parametrize("name", [None, ["unet"], 3])
def test_a_name_that_is_none(name):
    with pytest.raises(UsageError, match=r"no network .*: .*known networks: agunet"):
        create(name)


@pytest.mark.parametrize("name", ["agunet", "subvoxel_unet", "umamba", "unet"])  # those that differ in this
def test_an_image_of_another_type_than_the_weights(name):
    network = small(name).eval()
    for wrong in (torch.float64, torch.bfloat16):
        with pytest.raises(
            TypeError, match=f"of the network's weights, torch.float32, got {wrong}; image.to"
        ):
            network(image().to(wrong))
    with torch.no_grad():
        assert network.double()(image().double()).dtype == torch.float64


def test_a_number_of_numpy_and_a_default_of_none():
    arguments = SMALL["dynunet"] | {"filters": None}
    network = create("dynunet", spatial_dims=np.int64(2), in_channels=1, out_channels=2, **arguments)
    assert network.eval()(torch.zeros(1, 1, 8, 8)).shape == (1, 2, 8, 8)
