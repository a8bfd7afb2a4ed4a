from __future__ import annotations

import subprocess
import sys


def test_the_process_of_the_service_does_without_what_only_workers_need():
    script = (
        "import sys, medkit.batch.service.settings, medkit.batch.service.supervisor\n"
        "print([name for name in ('torch', 'monai', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
