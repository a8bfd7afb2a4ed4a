"""The options that name a Dask cluster, called as Dask's own tools call them where they have such."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from medkit.batch.cluster.settings import ClusterSettings

__all__ = ["cluster_options", "cluster_settings"]

_PATH = click.Path(path_type=Path)
_OPTIONS = (
    click.option(
        "--scheduler", metavar="ADDRESS", help="Make studies on the Dask cluster at tcp://HOST:PORT."
    ),
    click.option("--scheduler-file", type=_PATH, help="The same, by the file that its scheduler wrote."),
    click.option("--in-flight", type=click.IntRange(min=1), help="Studies on the cluster at one time."),
    click.option(
        "--resources", metavar="NAME=AMOUNT ...", help="What a worker needs for one, such as GPU=1."
    ),
    click.option(
        "--worker-folder", type=_PATH, help="What workers see OUTPUT as, where that is another path."
    ),
    click.option("--tls-ca-file", type=_PATH, help="Authority of the cluster."),
    click.option("--tls-cert", type=_PATH, help="Our certificate for it."),
    click.option("--tls-key", type=_PATH, help="Its key."),
)


def cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def cluster_settings(
    workers: int, scheduler: str | None, scheduler_file: Path | None, **options: Any
) -> ClusterSettings | None:
    """The cluster that the options name; ``None`` where they name none.

    Args:
        workers: on this machine, of which there can be no number beside a cluster.
        scheduler: address.
        scheduler_file: file.
        options: the others, by the names of their parameters.

    Raises:
        UsageError: an option of a cluster without one, or both; or an amount that is no number above 0.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if scheduler is None and scheduler_file is None:
        if given:
            name = min(given).replace("_", "-")
            raise UsageError(f"--{name}: expected a cluster with it, got none; name one by --scheduler")
        return None
    from medkit.batch.cluster.settings import ClusterSettings
    from medkit.dicom.network.tls import TlsFiles

    if workers > 1:
        raise UsageError("--workers: expected no number of workers beside a cluster, got one; leave it out")
    files = {"authority": "tls_ca_file", "certificate": "tls_cert", "key": "tls_key"}
    tls = {name: given[option] for name, option in files.items() if option in given}
    known: dict[str, Any] = {} if not tls else {"tls": TlsFiles(**tls)}
    if "in_flight" in given:
        known["studies"] = given["in_flight"]
    if "worker_folder" in given:
        known["folder"] = given["worker_folder"]
    if "resources" in given:
        known["resources"] = _resources(given["resources"])
    return ClusterSettings(scheduler=scheduler, scheduler_file=scheduler_file, **known)


def _resources(text: str) -> dict[str, float]:
    found = {}
    for part in text.replace(",", " ").split():
        name, _, amount = part.partition("=")
        try:
            found[name] = float(amount)
        except ValueError:
            found[name] = 0.0
        if not name or found[name] <= 0:
            raise UsageError(f"--resources: expected such as GPU=1, got {part}")
    return found
