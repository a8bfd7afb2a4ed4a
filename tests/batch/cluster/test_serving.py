"""``medkit serve`` with a cluster whose scheduler goes away and comes back."""

from __future__ import annotations

import json
from urllib.error import HTTPError

from medkit.batch.ledger import Ledger, LedgerView, State
from tests.batch.cluster.machines import Machines
from tests.batch.service.conftest import wait_for
from tests.batch.service.steps import SLOW
from tests.batch.service.studies import check_delivered_once, study_hash, write_numbered
from tests.batch.service.test_serving import Site


def problems(site: Site) -> str:
    try:
        return " ".join(json.loads(site.ask("/health"))["problems"])
    except HTTPError as error:
        return " ".join(json.loads(error.read())["problems"])
    except OSError:
        return ""


def test_a_scheduler_that_goes_away_is_waited_for_and_no_attempt_is_counted(tmp_path, bundle_root):
    for name in ("machines", "site"):
        (tmp_path / name).mkdir()
    machines = Machines(tmp_path / "machines")
    site = Site(tmp_path / "site", bundle_root, cluster={"scheduler_file": str(machines.file), "studies": 2})
    try:
        machines.start_workers("one")
        with site.serving() as process:
            write_numbered(site.folder / "in" / "0", 0, SLOW)
            begun = site.job.results
            wait_for(lambda: bool(list(begun.glob("*/*/*/.begun"))), process, site.log)
            machines.close()
            wait_for(lambda: "expected a scheduler" in problems(site), process, site.log)
            with Ledger(site.job.ledger, "test") as ledger:
                waiting = ledger.study(study_hash(0))
                assert (waiting.state, waiting.code) == (State.READY, "cluster-away")
                assert waiting.attempts == 0
                ledger.quarantine(study_hash(0), "it takes too long for this test")
            write_numbered(site.folder / "in" / "1", 1)
            machines.start_scheduler()
            machines.start_workers("two")
            site.wait_until(State.DELIVERED, {1}, process)
            wait_for(lambda: problems(site) == "", process, site.log)
            site.end(process)
    finally:
        machines.close()
    check_delivered_once(site.job, site.out)
    with LedgerView(site.job.ledger) as view:
        assert State.FAILED not in {entry.after for entry in view.history()}
