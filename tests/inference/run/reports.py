"""What a run reports of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def report(output: Path) -> dict[str, Any]:
    return json.loads((output / "report.json").read_text())
