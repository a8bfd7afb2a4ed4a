"""A process that reads with one reader, started again when it crashed or took too long."""

import contextlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

WAYS = Path(__file__).with_name("dicom_readers_ways.py")
START_SECONDS = 120.0


class Worker:
    """A reader in a process of its own.

    Args:
        reader: a name in ``READERS``.
        python: the interpreter that has the reader.
        log: where its own words go.
        ways: the script that knows the reader, and what else it is told.
    """

    def __init__(
        self, reader: str, python: str, log: Path, ways: tuple[Path, *tuple[str, ...]] = (WAYS,)
    ) -> None:
        self.reader, self.python, self.log, self.ways = reader, python, log, ways
        self.process: subprocess.Popen[str] | None = None
        self.hello: dict[str, str] = {}

    def start(self) -> dict[str, str]:
        """Versions of what reads, or ``{"missing": why}``."""
        root = str(WAYS.parents[1])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        script, *told = self.ways
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [self.python, str(script), self.reader, *told],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            )
        self.hello = self._line(START_SECONDS) or {"missing": "the process did not start"}
        return self.hello

    def read(self, task: dict[str, Any], limit: float = 60.0) -> dict[str, Any]:
        """What the reader answers; a crash and too long a time are errors."""
        if self.process is None:
            self.start()
        assert self.process is not None
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: there will be no answer
            self.process.stdin.write(json.dumps(task) + "\n")
            self.process.stdin.flush()
        answer = self._line(limit)
        if answer is None:
            status = self.process.poll()
            self.stop()
            error = f"no answer in {limit:.0f} s" if status is None else f"crashed with {status}"
            return {"refusals": 1, "repaired": False, "error": error, "seconds": []}
        return answer

    def _line(self, limit: float) -> dict[str, Any] | None:
        assert self.process is not None
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], limit)
        line = self.process.stdout.readline() if ready else ""
        if ready and not line:
            self.process.wait()
        return json.loads(line) if line else None

    def stop(self) -> None:
        """Ends the process; the next task starts another."""
        if self.process is not None:
            self.process.kill()
            with contextlib.suppress(BrokenPipeError):
                self.process.communicate()
            self.process = None


def python_of(reader: str, others: str | None, foreign: tuple[str, ...]) -> str:
    """The interpreter that a reader runs in."""
    return others if others and reader in foreign else sys.executable
