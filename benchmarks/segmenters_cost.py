"""What a network of `segmenters.py` costs: parameters, operations, memory and speed. Run as a process of its own.

    python benchmarks/segmenters_cost.py LABEL FORM [--device cuda] [--threads 4]

Prints JSON. The step is that of the training config, with its loss, its optimiser, its batch and its patches;
inference is a patch in float32.
"""

import contextlib
import json
import math

import torch
from command_line import command_line
from memory import reset_peak, resident
from segmenters_networks import NETWORKS, parameters
from segmenters_training import FORMS, SHAPE, config
from timing import least_seconds
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

import medkit.ops.selective_scan  # noqa: F401, for the operator that it registers

ROUNDS, WARM = 3, 2
# A state of a step: times the decay's rate, exponential, times the input, times the state, plus, times C, plus.
OPERATIONS_OF_A_STATE = 7
# A channel of a step besides: times the step size, times D, plus, gated; softplus and SiLU at one operation each.
OPERATIONS_OF_A_CHANNEL = 6


def operations(network: nn.Module, image: Tensor) -> dict[str, float]:
    """Of a forward pass, multiplications and additions each counted: of all, and of the scans among them."""
    scans = 0

    def scan(u: torch.Size, delta: torch.Size, rates: torch.Size, *others: object, **more: object) -> int:
        nonlocal scans
        count = math.prod(u) * (OPERATIONS_OF_A_STATE * rates[1] + OPERATIONS_OF_A_CHANNEL)
        scans += count
        return count

    def attention(
        query: torch.Size, key: torch.Size, value: torch.Size, *others: object, **more: object
    ) -> int:
        return sdpa_flop_count(query, key, value)

    formulas = {  # what PyTorch's own table leaves out
        torch.ops.medkit.selective_scan: scan,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention,
    }
    counter = FlopCounterMode(display=False, custom_mapping=formulas)
    with torch.no_grad(), counter:
        network(image)
    return {"operations": counter.get_total_flops(), "operations_of_scans": scans}


def measure(label: str, form: str, device: str) -> dict[str, float]:
    parts = config(label, 0, FORMS[form])
    patch, batch = parts.build("patch_size"), parts.build("batch_size")
    torch.manual_seed(0)
    network, loss = parts.build("network").to(device).train(), parts.build("loss")
    optimizer = parts.build("optimizer")(network.parameters())
    images = torch.randn(batch, SHAPE["in_channels"], *patch, device=device)
    truth = torch.randint(0, SHAPE["out_channels"], (batch, 1, *patch), device=device)
    half = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    casting = torch.autocast(device, torch.bfloat16) if half else contextlib.nullcontext()

    def step() -> None:
        with casting:
            logits = network(images)
        loss(logits.float(), truth).backward()
        optimizer.step()
        optimizer.zero_grad()

    def infer() -> None:
        with torch.no_grad():
            network(images[:1])

    peak = _peak_bytes(step, device)
    steps = least_seconds({"step": step}, ROUNDS, device)["step"]
    network.eval()
    seconds = least_seconds({"infer": infer}, ROUNDS, device)["infer"]
    return {
        "parameters": parameters(network),
        **operations(network, images[:1]),
        "peak_bytes": peak,
        "steps_per_second": 1 / steps,
        "voxels_per_second": math.prod(patch) / seconds,
    }


def _peak_bytes(step, device: str) -> int:
    """What the first steps need beyond the network: on the CPU by what the process held in memory."""
    if device == "cuda":
        before = torch.cuda.memory_allocated()
    else:
        before = resident("VmRSS")
        reset_peak()
    for _ in range(WARM):
        step()
    return (torch.cuda.max_memory_allocated() if device == "cuda" else resident("VmHWM")) - before


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("label", choices=NETWORKS)
    parser.add_argument("form", choices=FORMS)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(json.dumps(measure(arguments.label, arguments.form, arguments.device)))


if __name__ == "__main__":
    main()
