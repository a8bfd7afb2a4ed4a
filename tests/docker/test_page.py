"""The commands of `docker/README.md` name files, options and services that there are."""

from __future__ import annotations

import re
import shlex

from tests.docker.files import DOCKER, ROOT, load_yaml, stages
from tests.test_readme import blocks, check

PAGE = "docker/README.md"


def commands() -> list[list[str]]:
    """Words of each line, those that go on with a backslash joined."""
    lines = "\n".join(blocks(PAGE, "")).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


def test_files_and_targets_exist():
    built = [words for words in commands() if words[:2] == ["docker", "build"]]
    assert {words[words.index("--target") + 1] for words in built} == {"cpu", "gpu"}
    names = {stage.name for stage in stages(DOCKER / "Dockerfile")[1]}
    assert {"cpu", "gpu"} <= names
    files = [words[at + 1] for words in commands() for at, word in enumerate(words) if word == "--file"]
    assert files
    assert all((ROOT / name).is_file() for name in files)
    assert all((DOCKER / name).exists() for name in re.findall(r"^\| `([^`]+)`", table(), re.MULTILINE))


def table() -> str:
    """The first one: of files."""
    return (ROOT / PAGE).read_text().split("## Build")[0]


def test_commands_of_medkit_have_their_options():
    shown = []
    services = load_yaml((DOCKER / "compose.yaml").read_text())["services"]
    for words in commands():
        if words[:2] == ["docker", "build"]:
            continue
        at = [place for place, word in enumerate(words) if word in ("medkit", "medkit:cpu")]
        if words[:2] == ["docker", "compose"]:
            assert {"up", "ps", "exec", "stop"} & set(words)
            assert "exec" not in words or words[words.index("exec") + 1] in services
        if at:
            shown.append(" ".join(["medkit", *map(shlex.quote, words[at[-1] + 1 :])]))
    assert len(shown) == 4
    for line in shown:
        check(line)
