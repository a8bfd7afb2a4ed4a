from __future__ import annotations

import pytest

from tests.batch.cluster.machines import GPU, Machines
from tests.batch.service.steps import bundle_with_poison


@pytest.fixture(scope="session")
def bundle_root(tmp_path_factory):
    return bundle_with_poison(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    """Two workers with a GPU, as they say, and one without."""
    machines = Machines(tmp_path_factory.mktemp("machines"))
    try:
        machines.start_workers("first", resources=GPU)
        machines.start_workers("second", resources=GPU)
        machines.start_workers("plain")
        yield machines
    finally:
        machines.close()
