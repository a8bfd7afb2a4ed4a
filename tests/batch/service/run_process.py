"""A batch that is run once, as a process that may be killed: its arguments are a file of settings and a folder."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from medkit.batch.logs import LogSettings, set_up_logs
from medkit.batch.service import crew
from medkit.batch.service.supervisor import Supervisor


def main(settings_path: str, source: str) -> None:
    crew._PAUSES = (0.0,)  # what killed workers here are studies and tests, not a machine in need of rest
    settings = pickle.loads(Path(settings_path).read_bytes())
    logs = LogSettings("json", settings.job.root.with_suffix(".log"))
    set_up_logs(logs, "service")
    supervisor = Supervisor(settings, logs)
    supervisor.run_once([Path(source)], lambda *_: None)
    supervisor.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
