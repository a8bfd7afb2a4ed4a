"""Images are built of pinned packages, from files that are there, and run as nobody in particular."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.docker.files import DOCKER, DOCKERFILES, ROOT, calls, lineage, load_yaml, stages

EVERY = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
PINNED = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text().lower(), re.MULTILINE))


def targets() -> dict[str, set[str]]:
    """By Dockerfile, the stages that the compose files build; an unnamed one is the last."""
    found: dict[str, set[str]] = {}
    for name in ("compose.yaml", "compose.gpu.yaml"):
        for service in load_yaml((DOCKER / name).read_text())["services"].values():
            build = service["build"]
            file = build.get("dockerfile", "docker/Dockerfile")
            found.setdefault(file.removeprefix("docker/"), set()).add(build.get("target", ""))
    return found


def test_every_dockerfile_is_built_by_a_compose_file():
    assert set(targets()) == {path.name for path in DOCKERFILES}


@EVERY
def test_what_is_built_runs_as_no_root(path):
    _, known = stages(path)
    wanted = [stage for stage in known if stage.name in targets()[path.name]] or known[-1:]
    assert len(wanted) == len(targets()[path.name])
    for stage in wanted:
        users = [user for one in lineage(stage, known) for user in one.all("USER")]
        assert users
        assert users[-1].split(":")[0] not in ("0", "root")
        assert stage.instructions[-1][0] != "RUN"
        entry = [line for one in lineage(stage, known) for line in one.all("ENTRYPOINT")]
        assert entry[-1].startswith("["), "a shell would keep signals to itself"


def health_check() -> list[str]:
    """Words of what the images of medkit ask, each of which has the stage that says it."""
    _, known = stages(DOCKER / "Dockerfile")
    told = [
        [line for one in lineage(stage, known) for line in one.all("HEALTHCHECK")]
        for stage in known
        if stage.name in targets()["Dockerfile"]
    ]
    assert told[0]
    assert told == [told[0]] * 2
    (line,) = told[0]
    return json.loads(line.partition("CMD ")[2])


@pytest.mark.parametrize(
    ("command", "status", "well"),
    [
        ("medkit serve /etc/medkit/serve.yaml", 200, True),
        ("/sbin/docker-init -- medkit serve /etc/medkit/serve.yaml", 503, False),
        ("medkit serve /etc/medkit/serve.yaml", None, False),
        ("medkit predict hippocampus_segmentation_unet /serve", None, True),
    ],
)
def test_an_image_is_well_where_its_service_is(tmp_path, command, status, well):
    program, option, code = health_check()
    assert (program, option) == ("python", "-c")
    (tmp_path / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in command.split()))
    code = code.replace("/proc/1/cmdline", str(tmp_path / "cmdline"))
    (asked,) = re.findall(r"http://[^']+", code)
    assert (
        asked
        in load_yaml((DOCKER / "compose.yaml").read_text())["services"]["medkit"]["healthcheck"]["test"][-1]
    )
    with answering(status) as address:
        code = code.replace(asked.removesuffix("/health"), address)
        done = subprocess.run([sys.executable, option, code], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == well, done.stderr
    assert well or "urllib.error" in done.stderr


@contextmanager
def answering(status: int | None) -> Iterator[str]:
    """The address of a server that answers /health with a status; ``None``: nobody is there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    if status is None:
        server.server_close()
        yield address
        return
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield address
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@EVERY
def test_images_to_begin_with_have_a_version(path):
    arguments, known = stages(path)
    for stage in known:
        base = arguments[stage.base[2:-1]] if stage.base.startswith("${") else stage.base
        if base not in [other.name for other in known]:
            assert re.fullmatch(r"[a-z]+:[\w.-]*\d[\w.-]*|debian:[a-z]+-slim", base), base


@EVERY
def test_packages_are_those_of_the_constraints(path):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    _, known = stages(path)
    for stage in known:
        for words in calls(stage, "pip"):
            assert words[1] == "install"
            assert words[words.index("--constraint") + 1] == "constraints.txt"
            assert "--no-cache-dir" in words
            (package,) = [
                word for word in words[2:] if not word.startswith("-") and word != "constraints.txt"
            ]
            if package.startswith("."):
                assert set(package[2:-1].split(",")) <= set(extras)
            else:
                assert package in PINNED
        for words in calls(stage, "apt-get"):
            assert words[1] == "update" or {"install", "--no-install-recommends"} <= set(words)
        if calls(stage, "apt-get"):
            assert any("/var/lib/apt/lists" in " ".join(words) for words in calls(stage, "rm"))


@EVERY
def test_what_is_copied_is_there_and_let_through(path):
    _, known = stages(path)
    copied = [line.split() for stage in known for line in stage.all("COPY")]
    for words in copied:
        if words[0].startswith("--from="):
            assert words[0].removeprefix("--from=") in [stage.name for stage in known]
            continue
        for source in words[:-1]:
            assert (ROOT / source).exists()
            assert let_through(source), source


def test_nothing_else_is_let_through():
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"
    for name in (
        ".git/config",
        ".env",
        "docker/.env",
        "runs/x",
        "id_rsa",
        "docker/medkit/serve.yaml",
        "tests",
    ):
        assert not let_through(name)
    copied = [line.split() for path in DOCKERFILES for stage in stages(path)[1] for line in stage.all("COPY")]
    sources = {word for words in copied if "--from=" not in words[0] for word in words[:-1]}
    assert {line[1:] for line in _ignore_lines() if line.startswith("!")} == sources


def _ignore_lines() -> list[str]:
    return [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] != "#"]


def let_through(name: str) -> bool:
    """By the last line that fits, as Docker reads them; enough of it for the lines that there are."""
    let = True
    for line in _ignore_lines():
        pattern = line.lstrip("!").removeprefix("**/")
        if fnmatch(name, pattern) or name.startswith(f"{pattern}/"):
            let = line.startswith("!")
    return let


@pytest.mark.parametrize("path", sorted(DOCKER.rglob("*")), ids=lambda path: path.name)
def test_no_package_host_and_no_secret_is_named(path):
    if path.is_dir():
        return
    text = path.read_text()
    hosts = set(re.findall(r"https?://([^/\s:'\"]+)", text))
    assert hosts <= {"127.0.0.1", "localhost"}
    if path.suffix == ".md":
        return
    for word, value in re.findall(r"(?i)(\w*(?:password|token|secret)\w*)\"?\s*[:=]\s*(\S+)", text):
        assert value.lstrip('"').startswith("$"), (word, value)
