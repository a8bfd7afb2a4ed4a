"""What docs/pacs.md types to try a node by hand, by its own lines."""

from __future__ import annotations

import shlex
import subprocess
import sys

from medkit.dicom.network.node import StorageNode
from tests.dicom.network.takers import CALLER
from tests.test_readme import blocks

PORT = "11112"


def call(line: str, port: int, folder) -> subprocess.CompletedProcess[str]:
    given = shlex.split(line)
    assert (given[:2], given.count(PORT)) == (["python", "-m"], 1)
    words = [str(port) if word == PORT else word for word in given[1:]]
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_programs_of_the_environment_reach_a_node(loopback, study, taken, tmp_path):
    echo, store = next(block for block in blocks("docs/pacs.md", "text") if "echoscu" in block).splitlines()
    node = StorageNode("MEDKIT", taken, [CALLER], port=0)
    node.start()
    try:
        assert "0x0000 - Success" in call(echo, node.port, tmp_path).stderr
        done = call(store, node.port, tmp_path)
        assert (done.returncode, done.stderr, len(taken.files)) == (0, "", len(study))
        taken.status = 0xA700
        assert call(store, node.port, tmp_path).returncode == 0
        assert "0xA700 - Failure" in call(f"{store} -v", node.port, tmp_path).stderr
        stranger = call(store.replace(CALLER, "STRANGER"), node.port, tmp_path)
        assert stranger.returncode == 1
        assert "Calling AE title not recognised" in stranger.stderr
    finally:
        node.stop(5)
