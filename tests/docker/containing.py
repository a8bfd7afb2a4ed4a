"""What a container would see, without an engine: a read-only root file system, other mounts, nobody's user."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.docker.files import DOCKER, stages
from tests.servers.programs import missing, program

# A user of whom the machine knows no name.
USER = 4711
_INSIDE = """
set -eu
{stash}
{binds}
mount -t tmpfs -o mode=755 hidden {home}
{restore}
for place in / {fixed}; do mount --options remount,bind,ro $place; done
exec setpriv --reuid {user} --regid {user} --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
"""


def contained(
    command: Sequence[str | Path], fixed: Mapping[str, Path], changing: Mapping[str, Path]
) -> list[str]:
    """A command as it runs in a mount namespace of its own, by nobody, without a capability.

    Args:
        command: what to run.
        fixed: places that can be read, each with what lies there.
        changing: places that can be written, likewise.
    """
    for name in ("unshare", "setpriv", "mount"):
        program(name)
    if os.geteuid() != 0:
        missing("mounts need root")
    for path in changing.values():
        path.mkdir(exist_ok=True)
        path.chmod(0o777)
    binds = [f"mount --bind {shlex.quote(str(path))} {place}" for place, path in (fixed | changing).items()]
    # The home of who runs the tests is hidden: nobody else can enter it. A Python there, or below a mount, stays.
    home = Path.home()
    over = [home, *map(Path, fixed | changing)]
    kept = [
        one
        for one in sorted({sys.prefix, sys.base_prefix})
        if any(Path(one).is_relative_to(at) for at in over)
    ]
    stash = ["mount -t tmpfs -o mode=755 hidden /opt"]
    stash += [f"mkdir /opt/{at}; mount --bind {shlex.quote(path)} /opt/{at}" for at, path in enumerate(kept)]
    inside = _INSIDE.format(
        stash="\n".join(stash),
        binds="\n".join(binds),
        home=shlex.quote(str(home)),
        restore="\n".join(
            f"mkdir -p {path}; mount --bind /opt/{at} {path}"
            for at, path in enumerate(map(shlex.quote, kept))
        ),
        fixed=" ".join(fixed),
        user=USER,
    )
    return ["unshare", "--mount", "sh", "-c", inside, "sh", *map(str, command)]


def image_environment() -> dict[str, str]:
    """What the image of medkit sets, but for the path of its Python."""
    _, known = stages(DOCKER / "Dockerfile")
    (runtime,) = [stage for stage in known if stage.name == "runtime"]
    words = [word for line in runtime.all("ENV") for word in shlex.split(line)]
    found = dict(word.split("=", 1) for word in words if not word.startswith("PATH="))
    assert found["HOME"] == "/tmp"
    return found
