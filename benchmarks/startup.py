"""How long the command line takes to answer: the median of several fresh processes, interpreter included.

    python benchmarks/startup.py [--output benchmarks/startup.md]

Aim: `medkit --help` and `medkit bundle list` in under half a second.
"""

import statistics
import subprocess
import sys
import time

from command_line import command_line
from machine import describe

AIM_SECONDS = 0.5
REPEATS = 15
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "medkit --help": [sys.executable, "-m", "medkit", "--help"],
    "medkit bundle list": [sys.executable, "-m", "medkit", "bundle", "list"],
    "medkit predict --help": [sys.executable, "-m", "medkit", "predict", "--help"],
    "python -m monai.bundle --help": [sys.executable, "-m", "monai.bundle", "--help"],
}


def seconds(command: list[str]) -> list[float]:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        times.append(time.perf_counter() - start)
    return times


def main() -> None:
    output = command_line(__doc__, __file__).parse_args().output
    rows = []
    for name, command in COMMANDS.items():
        times = seconds(command)
        aim = f"under {AIM_SECONDS} s" if name in ("medkit --help", "medkit bundle list") else ""
        rows.append(f"| `{name}` | {statistics.median(times):.2f} | {max(times):.2f} | {aim} |")
        print(rows[-1])
    table = ["| command | median s | slowest s | aim |", "|---|---|---|---|", *rows]
    output.write_text(f"# Start-up\n\n{describe()}; {REPEATS} runs each.\n\n" + "\n".join(table) + "\n")


if __name__ == "__main__":
    main()
