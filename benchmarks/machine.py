"""Name the machine that a table was made on: processor, cores, threads and versions, nothing else."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("medkit-imaging", "monai", "torch", "numpy")


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def describe() -> str:
    threads = os.environ.get("OMP_NUM_THREADS", "default")
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    machine = f"{processor()}, {os.cpu_count()} cores, OMP_NUM_THREADS={threads}"
    return f"{machine}; Python {platform.python_version()}, {packages}"
