"""The page on batches shows what works: its rules choose, its messages are medkit's, its example runs."""

from __future__ import annotations

import re
from urllib.request import urlopen

import pytest

from medkit.batch.rules import FACTS, choose
from medkit.batch.rules_file import check_rules, read_rules
from medkit.batch.spool import Spool
from medkit.batch.status.alerts import AlertCode
from medkit.batch.status.server import StatusServer
from medkit.cli import main
from medkit.cli.batch import command
from tests.batch.ledger.stories import Clock
from tests.batch.status.live import LiveBatch
from tests.batch.status.test_metrics import read
from tests.batch.test_rules import facts
from tests.test_readme import ROOT, blocks

PAGE = "docs/batch.md"


@pytest.fixture
def batch(tmp_path):
    live = LiveBatch(tmp_path / "night", Clock(1_700_000_000.0))
    yield live
    live.ledger.close()


def rules_of_the_page(folder):
    (text,) = blocks(PAGE, "yaml")
    path = folder / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_rules_choose_what_they_say(tmp_path):
    rules = read_rules(rules_of_the_page(tmp_path))
    t1 = facts("003", series_description="T1 MPRAGE sag")
    assert [job.bundle for job in choose(rules, [t1]).jobs] == ["hippocampus_segmentation_unet"]
    tumour = [
        facts("004", series_description="t2 FLAIR"),
        facts("005", series_description="T1 TSE", contrast_agent=True),
    ]
    (job,) = choose(rules, tumour).jobs
    assert (job.bundle, dict(job.inputs)) == ("glioma_segmentation_agunet", {"flair": "004", "t1ce": "005"})
    assert choose(rules, [facts(modality="CT")]).jobs == ()
    assert t1.keys() == set(FACTS)


def test_a_fault_is_told_as_the_page_shows(tmp_path):
    path = rules_of_the_page(tmp_path)
    text = path.read_text(encoding="utf-8")
    assert "{min: 0.5," in text
    path.write_text(text.replace("{min: 0.5,", "{min: thin,"), encoding="utf-8")
    (fault,) = check_rules(path)
    assert fault.removeprefix(f"{tmp_path}/") in blocks(PAGE, "text")[1]


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example, watching = blocks(PAGE, "python")
    made = {}
    exec(compile(example, PAGE, "exec"), made)
    assert len(made["spool"].instances(made["study"])) == 1
    assert Spool(tmp_path / "spool").studies() == [made["study"]]
    exec(compile(watching, PAGE, "exec"), made)
    assert made["page"].startswith("<!doctype html>")


def rows(heading, until):
    """The first cells of the tables of a part of the page."""
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    part = text[text.index(heading) : text.index(until)]
    return re.findall(r"^\| (`.*?) \| ", part, re.MULTILINE)


def test_every_alert_and_every_address_is_on_the_page(batch):
    assert rows("**Alerts.**", "**Metrics.**") == [f"`{code}`" for code in AlertCode]
    addresses = rows("## Watching over it", "**Alerts.**")
    with StatusServer(batch.job) as server:
        for address in addresses:
            with urlopen(server.url.rstrip("/") + address.strip("`")) as answer:
                assert answer.status == 200
    assert len(addresses) == 5


def labelled(pairs):
    return {(name, frozenset(labels)) for name, labels in pairs}


def test_every_metric_is_on_the_page(batch):
    batch.one_of_each()
    names = [
        one for row in rows("**Metrics.**", "## Commands") for one in re.findall(r"`(\w+)(?:{(.*?)})?`", row)
    ]
    lines = re.findall(r"^medkit_batch_(\w+)(?:{(.*?)})? ", read(batch)[0].decode(), re.MULTILINE)
    shown = labelled((name, labels.split(",") if labels else []) for name, labels in names)
    assert shown == labelled((name, re.findall(r'(\w+)="', labels)) for name, labels in lines)


def test_every_command_is_on_the_page():
    shown = {row.split()[2] for row in rows("## Commands", "All end with 2")}
    assert shown == set(command.commands)


def test_status_prints_what_the_page_shows(batch, capsys):
    batch.arrive("a")
    batch.ledger.quarantine(batch.ledger.find("")[0], "look at it")
    asked, *expected = blocks(PAGE, "text")[-1].splitlines()
    with pytest.raises(SystemExit):
        main([*asked.removeprefix("$ medkit ").split()[:-1], str(batch.job.root)])
    assert capsys.readouterr().out.splitlines()[: len(expected)] == expected
