"""SegMamba at the size of a BraTS patch on a CPU: seconds of a prediction, and where they go.

    python benchmarks/segmamba.py [--threads 4] [--size 128] [--rounds 3] [--output benchmarks/segmamba.md]

medkit's SegMamba with the filters of the published one (48, 96, 192, 384), two Mamba layers a scanned stage, four
channels in and four classes out, one image: with the reference of the scan, with medkit's own, and beyond that with
channels last and in bfloat16. It scans at the two deepest stages, as SegMamba's second version does, where the first
scans at all four. The least of the rounds counts; the reference is run once. Shares are the profiler's, of one more
prediction. If a logit of a way differs from that of the first by more than a thousandth of the logits' standard
deviation, or in bfloat16, which has eight bits of precision, by more than a fifth, the exit code is 1.
"""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple
from unittest import mock

import torch
from command_line import command_line
from machine import describe
from timing import by_clock, note
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

from medkit.networks import create
from medkit.networks.oriented_mamba_layer import OrientedMambaLayer
from medkit.ops import raster_scan
from medkit.ops.selective_scan import selective_scan, selective_scan_reference

CHANNELS, CLASSES = 4, 4
ARGUMENTS = {"filters": (48, 96, 192, 384), "strides": (2, 2, 2), "depth": 2}
AIM_SECONDS, AIM_SHARE = 8.0, 0.05
ORIGIN = (
    "The aim comes from the published network of SegMamba's first version, with the same filters: 43.2 s with a "
    "reference of its scan, 14.3 s with a fast one. That network scans at all four stages; this one at the two deepest "
    "only, as the second version does. So the seconds compare two networks for one task, at the same size and width. "
    "They do not compare two ways to scan"
)
# Largest difference of a logit, relative to their standard deviation.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.2}
KERNEL, SCAN = "scan, kernel", "scan, all"
KINDS = {
    KERNEL: ("selective_scan",),
    SCAN: (SCAN,),
    "convolutions": ("conv",),
    "norms": ("norm", "var_mean"),
    "copies": ("aten::copy_", "aten::cat"),
}


class Way(NamedTuple):
    name: str
    dtype: torch.dtype = torch.float32
    last: bool = False
    reference: bool = False


WAYS = (
    Way("reference of the scan", reference=True),
    Way("medkit's scan"),
    Way("channels last", last=True),
    Way("bfloat16", torch.bfloat16),
    Way("bfloat16, channels last", torch.bfloat16, last=True),
)


class Measured(NamedTuple):
    """What one way takes.

    Args:
        way: its name.
        off: largest difference of a logit from the first way.
        seconds: the least; ``None`` where that difference is too large.
        shares: of the time, by kind of operator; empty for the reference.
    """

    way: str
    off: float
    seconds: float | None = None
    shares: Mapping[str, float] = MappingProxyType({})


@contextlib.contextmanager
def prepared(way: Way) -> Iterator[None]:
    scan = selective_scan_reference if way.reference else selective_scan
    half = torch.autocast("cpu", torch.bfloat16, enabled=way.dtype == torch.bfloat16)
    with torch.no_grad(), half, mock.patch.object(raster_scan, "selective_scan", scan):
        yield


def laid_out(way: Way, network: nn.Module, image: Tensor) -> tuple[nn.Module, Tensor]:
    layout = torch.channels_last_3d if way.last else torch.contiguous_format
    return network.to(memory_format=layout), image.contiguous(memory_format=layout)


@contextlib.contextmanager
def whole_scan_marked() -> Iterator[None]:
    """Under one name what a Mamba layer does between its convolution and its last projection.

    That is the kernel, what makes its arguments out of the image, turning, joining and averaging for the orders of the
    axes, and the gate, which alone would be there without a scan, too.
    """
    scanned = OrientedMambaLayer._scanned

    def marked(layer: OrientedMambaLayer, *arguments: Tensor) -> Tensor:
        with record_function(SCAN):
            return scanned(layer, *arguments)

    with mock.patch.object(OrientedMambaLayer, "_scanned", marked):
        yield


def shares(network: nn.Module, image: Tensor) -> dict[str, float]:
    """Of the profiler's time, by kind of operator; that of the whole scan is in the other kinds, too."""
    with profile(activities=[ProfilerActivity.CPU]) as watched, whole_scan_marked():
        network(image)
    events = watched.key_averages()
    whole = sum(event.self_cpu_time_total for event in events)
    spent = {
        event.key: event.cpu_time_total if event.key == SCAN else event.self_cpu_time_total
        for event in events
    }
    return {
        kind: sum(time for name, time in spent.items() if any(word in name for word in words)) / whole
        for kind, words in KINDS.items()
    }


def difference(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected).abs().max() / expected.std())


def measured(network: nn.Module, image: Tensor, rounds: int) -> list[Measured]:
    """Each way, in turn; those that give other logits than the first have no seconds."""
    first: Tensor | None = None
    found = []
    for way in WAYS:
        note(way.name)
        ready, given = laid_out(way, network, image)
        with prepared(way):
            start = time.perf_counter()
            logits = ready(given)
            seconds = time.perf_counter() - start
            first = logits if first is None else first
            off = difference(logits, first)
            if not off <= TOLERANCE[way.dtype]:
                found.append(Measured(way.name, off))
                continue
            if not way.reference:  # which takes minutes
                seconds = min(by_clock(lambda ready=ready, given=given: ready(given)) for _ in range(rounds))
            spent = {} if way.reference else shares(ready, given)
            found.append(Measured(way.name, off, seconds, spent))
    return found


def row(one: Measured) -> str:
    cells = [f"{one.shares[kind]:.1%}" if one.shares else "-" for kind in KINDS]
    return f"| {one.way} | {one.seconds:.2f} | {' | '.join(cells)} | {one.off:.0e} |"


def met(is_met: bool) -> str:
    return "met" if is_met else "not met"


def main() -> None:
    parser = command_line(__doc__, __file__)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--size", type=int, default=128, help="voxels a side")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    network = create(
        "segmamba", spatial_dims=3, in_channels=CHANNELS, out_channels=CLASSES, **ARGUMENTS
    ).eval()
    image = torch.randn(1, CHANNELS, *[arguments.size] * 3)
    found = measured(network, image, arguments.rounds)
    right = [one for one in found if one.seconds is not None]
    faults = [
        f"{one.way}: logits differ by {one.off:.1e} of their standard deviation"
        for one in found
        if one.seconds is None
    ]
    lines = [row(one) for one in right]
    seconds, share = min(
        (one.seconds, max(one.shares[KERNEL], one.shares[SCAN])) for one in right if one.shares
    )
    parameters = sum(parameter.numel() for parameter in network.parameters())
    text = (
        f"# SegMamba at {arguments.size}^3\n\n{describe()}, {arguments.threads} threads. One image of {CHANNELS} "
        f"channels, {CLASSES} classes, {parameters / 1e6:.1f} million parameters. Off: the largest difference of a "
        "logit from the first way, relative to their standard deviation. Scan, kernel: the recurrence alone. Scan, "
        "all: the recurrence and what only it needs, which is the projections that make its arguments, the turning and "
        "averaging for the three orders of the axes, and the gate. Some of that is convolutions and copies, and counted "
        "in those columns, too.\n\n"
        f"| way | seconds | {' | '.join(KINDS)} | off |\n|---|---|{'---|' * len(KINDS)}---|\n"
        + "\n".join(lines)
    )
    if arguments.size == 128 and arguments.threads == 4:
        text += (
            f"\n\nAim: under {AIM_SECONDS:.0f} s on four cores, with under {AIM_SHARE:.0%} of the time in the scan. The "
            f"fastest way takes {seconds:.2f} s ({met(seconds < AIM_SECONDS)}), {share:.1%} of them in the scan "
            f"({met(share < AIM_SHARE)}); of the two columns on the scan the larger counts.\n\n{ORIGIN}."
        )
    if faults:
        text += "\n\nWrong, and so not timed:\n\n" + "\n".join(f"- {fault}" for fault in faults)
    arguments.output.write_text(text + "\n")
    print(text)
    if faults:
        sys.exit(1)


if __name__ == "__main__":
    main()
