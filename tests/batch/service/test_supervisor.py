"""What the service's own process is made of; what it does is tested as a whole in the files beside this one."""

from __future__ import annotations

import subprocess
import sys

LOADED = """
import sys
import medkit.batch.service.settings, medkit.batch.service.supervisor
print(*sorted({"medkit", "torch", "monai"} & sys.modules.keys()))
"""


def test_the_service_does_without_what_only_its_workers_need():
    """PyTorch and MONAI take seconds to import, before the first worker is started, and half a gigabyte for months."""
    ended = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["medkit"]
