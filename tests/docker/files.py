"""The files of `docker/` as data."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.servers.programs import program

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("Dockerfile*"))


@dataclass
class Stage:
    """What stands between one FROM and the next.

    Args:
        base: image or stage that it begins with.
        name: its own.
        instructions: words of each, such as ``("USER", "1000:1000")``.
    """

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        return [rest for name, rest in self.instructions if name == word]


def stages(path: Path) -> tuple[dict[str, str], list[Stage]]:
    """Defaults of the arguments before the first FROM, and the stages."""
    lines = [line for line in path.read_text().splitlines() if line and not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    arguments, found = {}, []
    for line in whole:
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(base, name))
        elif found:
            found[-1].instructions.append((word, rest))
        else:
            assert word == "ARG", line
            name, _, default = rest.partition("=")
            arguments[name] = default
    return arguments, found


def lineage(stage: Stage, known: list[Stage]) -> list[Stage]:
    """A stage and those that it begins with, itself last."""
    before = [other for other in known if other.name == stage.base]
    return [*(lineage(before[0], known) if before else []), stage]


def calls(stage: Stage, name: str) -> list[list[str]]:
    """Words of the calls of a program in the RUN lines of a stage."""
    found = [
        shlex.split(call) for line in stage.all("RUN") for call in re.split(r"&&|;|\|", line) if call.strip()
    ]
    return [words for words in found if Path(words[0]).name == name]


@cache
def composed(*files: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What Compose makes of files, by the Compose that is installed; no engine is asked."""
    compose = program("docker-compose")
    options = [word for name in files for word in ("--file", str(DOCKER / name))]
    with tempfile.TemporaryDirectory() as home:
        clean = {"PATH": os.environ["PATH"], "HOME": home, **environment}
        return subprocess.run(
            [compose, *options, "config"], capture_output=True, text=True, env=clean, check=False
        )


def load_yaml(text: str) -> Any:
    return YAML(typ="safe").load(text)
