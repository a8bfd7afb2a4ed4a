"""Time medkit's operators beside other ways to the same numbers and beside a copy of the same memory, in one run.

    python benchmarks/ops.py [--device cuda] [--rounds 10] [--clock GHZ] [--output benchmarks/ops_cpu.md]

Writes one document for a machine: the selective scan beside `mambapy`, medkit's own path in PyTorch and the reference,
and on a GPU beside `mamba-ssm`; and the Haar transform beside what PyTorch offers and `ptwt`. The packages take part
where they are installed. Ways are timed in turn, three calls each, round after round, and the least time counts: what
else runs on the machine only adds. A way that has taken three seconds is not called again. Every way has to be right
before it is timed, or it gets no number and the exit code is 1.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import ops_haar
import ops_scan_tables
import torch
from command_line import command_line
from machine import describe
from timing import REPEATS

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def place(device: str) -> str:
    if device == "cuda":
        return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}, triton {version('triton')}"
    pages = f", transparent huge pages {HUGE_PAGES.read_text().strip()}" if HUGE_PAGES.exists() else ""
    return f"{torch.get_num_threads()} threads{pages}"


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--clock", type=float, metavar="GHZ", help="of the processor, for the bound by arithmetic"
    )
    parser.add_argument("--output", type=Path, help="default: benchmarks/ops_DEVICE.md")
    arguments = parser.parse_args()
    device, rounds = arguments.device, arguments.rounds
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("expected a CUDA device, got none; run this where torch.cuda.is_available()")
    torch.backends.cudnn.allow_tf32 = False  # or a convolution is not right to float32
    text = [
        "# Operators",
        f"{describe()}, {place(device)}. Least of at most {rounds * REPEATS} times.",
    ]
    faults = []
    for paragraphs, wrong in (
        ops_scan_tables.section(rounds, device, arguments.clock),
        ops_haar.section(rounds, device),
    ):
        text += paragraphs
        faults += wrong
    if faults:
        text += ["## Wrong, and so not timed", "\n".join(f"- {fault}" for fault in faults)]
    output = arguments.output or Path(__file__).with_name(f"ops_{device}.md")
    output.write_text("\n\n".join(text) + "\n")
    print("\n\n".join(text))
    if faults:
        sys.exit(1)


if __name__ == "__main__":
    main()
