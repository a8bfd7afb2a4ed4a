"""Refresh `constraints.txt`: install the newest allowed releases into a fresh environment and freeze them.

Torch keeps the version that the file pins: its builds are chosen by hand.
"""

import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
HEADER = "# Tested versions of everything that medkit installs; made by `make constraints`.\n"


def main() -> None:
    pinned = re.search(r"^torch==\S+", CONSTRAINTS.read_text(), re.MULTILINE)
    if pinned is None:
        sys.exit(f"{CONSTRAINTS}: expected a line 'torch==VERSION'")
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", pinned[0], f"{ROOT}[dev]"], check=True)
        frozen = subprocess.run(
            [python, "-m", "pip", "freeze", "--all", "--exclude", "pip", "--exclude", "medkit-imaging"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    CONSTRAINTS.write_text(HEADER + re.sub(r"\+\S+$", "", frozen, flags=re.MULTILINE))


if __name__ == "__main__":
    main()
