"""The functions that Dask is given. Its scheduler imports this module, and is not to import all of medkit for it."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medkit.batch.cluster.order import Outcome

__all__ = ["failed_on", "make_study"]


def make_study(order: bytes) -> Outcome:
    """Make a study on a worker of the cluster.

    Args:
        order: a pickled :class:`medkit.batch.cluster.order.Order`.
    """
    from medkit.batch.cluster.making import make

    return make(pickle.loads(order))


def failed_on(key: str, dask_scheduler: Any) -> list[str]:
    """On which workers a task failed; runs on the scheduler.

    Args:
        key: of the task.
        dask_scheduler: Dask gives itself.
    """
    return sorted(dask_scheduler.tasks[key].erred_on)
