"""A process takes no more memory than it may."""

from __future__ import annotations

import subprocess
import sys


def test_who_wants_more_gets_none_and_lives():
    """In a process of its own, whose limit is nobody else's."""
    code = (
        "import numpy as np\n"
        "from medkit.batch.memory_limit import limit_memory\n"
        "import torch\n"
        "limit_memory(2 << 30, 'cpu')\n"
        "try:\n"
        "    np.ones(3 << 27)\n"
        "except MemoryError:\n"
        "    print('lives')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "lives\n"
