"""The page on batches shows what works: its rules choose, its messages are medkit's, its example runs."""

from __future__ import annotations

import ast
import json
import re
from importlib.resources import files
from pathlib import Path
from urllib.request import urlopen

import pytest

import medkit.batch.delivery
import medkit.batch.making
from medkit.batch.cluster.settings import ClusterSettings
from medkit.batch.identity import hash_uid
from medkit.batch.ledger import Ledger, Policy
from medkit.batch.making.channels import channel_inputs
from medkit.batch.rules import FACTS, choose
from medkit.batch.rules_file import check_rules, read_rules
from medkit.batch.service.settings import Settings, WorkLimits, read_settings
from medkit.batch.spool import Spool, SpoolLimits
from medkit.batch.status.alerts import AlertCode
from medkit.batch.status.server import StatusServer
from medkit.bundle.store import find_bundle
from medkit.cli import main
from medkit.cli.batch import command
from tests.batch.intake import door
from tests.batch.ledger.stories import Clock
from tests.batch.making.studies import write_study
from tests.batch.status.live import LiveBatch
from tests.batch.status.test_metrics import read
from tests.batch.test_rules import facts
from tests.dicom.writing import sources
from tests.test_readme import ROOT, blocks

PAGE = "docs/batch.md"


@pytest.fixture
def batch(tmp_path):
    live = LiveBatch(tmp_path / "night", Clock(1_700_000_000.0))
    yield live
    live.ledger.close()


def rules_of_the_page(folder):
    (text,) = [block for block in blocks(PAGE, "yaml") if block.startswith("rules:")]
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
        facts("006", series_description="T1 TSE", contrast_agent=False),
    ]
    (job,) = choose(rules, tumour).jobs
    channels = {"flair": "004", "t1-after-contrast-agent": "005", "t1-before-contrast-agent": "006"}
    assert (job.bundle, dict(job.inputs)) == ("glioma_segmentation_agunet", channels)
    assert set(channel_inputs(find_bundle(job.bundle))) == set(channels)
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
    example = blocks(PAGE, "python")[0]
    made = {}
    exec(compile(example, PAGE, "exec"), made)
    assert len(made["spool"].instances(made["study"])) == 1
    assert Spool(tmp_path / "spool").studies() == [made["study"]]
    (watching,) = [
        block for block in blocks(PAGE, "python") if "page" in block.split("=")[0] or "page =" in block
    ]
    exec(compile(watching, PAGE, "exec"), made)
    assert "<h1>" in made["page"]


def test_the_example_of_making_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rules_of_the_page(tmp_path)
    (example,) = [block for block in blocks(PAGE, "python") if "make_study" in block]
    with Ledger(tmp_path / "ledger.sqlite", "node") as ledger:
        spool = Spool(tmp_path / "spool", SpoolLimits(free_bytes=0))
        ledger.receive(study := hash_uid(f"{sources.ROOT}.1"))
        for path in write_study(tmp_path / "files").iterdir():
            with path.open("rb") as file:
                spool.store(f"{sources.ROOT}.1", path.stem, file)
        (arrival,) = ledger.arrivals()
        ledger.complete(arrival, spool.digest(study), len(spool.instances(study)))
    exec(compile(example, PAGE, "exec"), {})
    assert capsys.readouterr().out.startswith(
        "skipped no-rule rule 'hippocampus-t1': no series for 'image' (003: "
    )


def test_every_code_that_making_gives_is_in_its_table():
    text = Path(PAGE).read_text(encoding="utf-8").partition("## How results are made")[2]
    table = re.findall(r"^\| ((?:`[a-z-]+`(?:, )?)+) \|", text.partition("\n## ")[0], flags=re.MULTILINE)
    told = {code for row in table for code in re.findall(r"`([a-z-]+)`", row)}
    sources = Path(medkit.batch.making.__file__).parent.glob("*.py")
    given = {code for path in sources for code in verdict_codes(ast.parse(path.read_text(encoding="utf-8")))}
    assert len(given) > 10
    assert given <= told


def verdict_codes(tree):
    """Codes written out where verdicts are made."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Verdict", "verdict", "_not_whole"):
            code = node.args[1 if ast.unparse(node.func) == "Verdict" else 0]
            if isinstance(code, ast.Constant):
                yield code.value


def test_the_example_of_sources_and_destinations_runs(tmp_path, monkeypatch, capsys):
    study = door.write_study(tmp_path / "incoming")
    broken = study.paths[2]
    broken.write_bytes(broken.read_bytes()[:-40])
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    (example,) = [block for block in blocks(PAGE, "python") if "take_folder" in block]
    exec(compile(example, PAGE, "exec"), {})
    assert capsys.readouterr().out.startswith("1 studies; ['IM0002.dcm: expected pixels up to their end")
    assert Spool(tmp_path / "job" / "spool").missing(study.hash)


def test_the_codes_of_deliveries_are_those_that_there_are():
    page = Path(PAGE).read_text(encoding="utf-8")
    folder = Path(medkit.batch.delivery.__file__).parent
    calls = [
        node
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Trouble"
    ]
    codes = {node.args[0].value for node in calls if isinstance(node.args[0], ast.Constant)}
    assert len(codes) >= 7
    assert {code for code in codes if f"`{code}`" not in page} == {"delivery-fault"}, "a fault of ours"


def rows(heading, until):
    """The first cells of the tables of a part of the page."""
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    part = text[text.index(heading) : text.index(until)]
    return re.findall(r"^\| (`.*?) \| ", part, re.MULTILINE)


def test_every_alert_and_every_address_is_on_the_page(batch):
    assert rows("**Alerts.**", "**Metrics.**") == [f"`{code}`" for code in AlertCode]
    addresses = rows("## Watching over it", "**Alerts.**")
    with StatusServer(batch.job, kept_free_bytes=0) as server:
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
    batch.give_up("a")
    (shown,) = [block for block in blocks(PAGE, "text") if block.startswith("$ medkit batch status")]
    asked, *expected = shown.splitlines()
    assert expected
    with pytest.raises(SystemExit):
        main([*asked.removeprefix("$ medkit ").split()[:-1], str(batch.job.root)])
    assert capsys.readouterr().out.splitlines()[: len(expected)] == expected


def test_the_settings_of_the_page_are_read_and_its_keys_are_those_of_the_schema(tmp_path):
    rules_of_the_page(tmp_path)
    (text,) = [block for block in blocks(PAGE, "yaml") if block.startswith("folder:")]
    (tmp_path / "service.yaml").write_text(text, encoding="utf-8")
    settings = read_settings(tmp_path / "service.yaml")
    assert (len(settings.nodes), len(settings.watched), len(settings.pulls)) == (1, 1, 1)
    assert (settings.sending, list(settings.folders)) == (("pacs", "research"), ["copies"])
    schema = json.loads((files("medkit") / "schemas" / "service.schema.json").read_text(encoding="utf-8"))
    shown = set(re.findall(r"`([a-z_]+)", "\n".join(rows("## Running it", "**What runs.**"))))
    known = schema["properties"].keys() - {"sources", "archives", "destinations"}
    assert known <= shown | {"device"}
    limits = {key for row in rows("## Limits", "## Logs") for key in re.findall(r"`(\w+)`", row)}
    assert limits == schema["properties"]["limits"]["properties"].keys()


def test_the_cluster_of_the_page_is_read_and_its_keys_and_options_are_those_that_there_are(tmp_path):
    rules_of_the_page(tmp_path)
    yaml = blocks(PAGE, "yaml")
    (whole,) = [block for block in yaml if block.startswith("folder:")]
    (cluster,) = [block for block in yaml if block.startswith("cluster:")]
    (tmp_path / "service.yaml").write_text(whole.replace("workers: 2\n", cluster), encoding="utf-8")
    settings = read_settings(tmp_path / "service.yaml")
    assert settings.cluster is not None
    assert (settings.cluster.studies, settings.cluster.resources) == (16, {"GPU": 1})
    schema = json.loads((files("medkit") / "schemas" / "service.schema.json").read_text(encoding="utf-8"))
    part = rows("## More than one machine", "**What runs where.**")
    assert {key for row in part for key in re.findall(r"`([a-z_]+)`", row.partition(" | ")[0])} == schema[
        "properties"
    ]["cluster"]["properties"].keys()
    table = (
        (ROOT / PAGE)
        .read_text(encoding="utf-8")
        .partition("## More than one machine")[2]
        .partition("**What")[0]
    )
    options = set(re.findall(r"`(--[a-z-]+)`", table))
    known = {name for one in command.commands["run"].params for name in one.opts}
    assert len(options) == 8
    assert options <= known
    assert f"| {ClusterSettings(scheduler='tcp://h:1').studies} |" in table


def test_defaults_of_the_page_are_those_that_are_used():
    table = {row[0]: row[1] for row in cells("## Running it", "**What runs.**")}
    assert table["`quiet_seconds`"] == f"{Settings.quiet_seconds:g}"
    assert table["`retention_days`"] == f"{Settings.retention_days:g}"
    assert table["`workers`, `device`"].startswith(f"{Settings.workers},")
    assert table["`status`"].endswith(str(Settings.status_port))
    limits = {row[0]: row[1] for row in cells("## Limits", "## Logs")}
    assert limits["`stage_seconds`"] == f"{WorkLimits.stage_seconds:g}"
    assert limits["`stop_seconds`"] == f"{WorkLimits.stop_seconds:g}"
    policy, spool = Policy(), SpoolLimits()
    assert limits["`attempts`, `retry_seconds`"] == f"{policy.attempts}, {policy.delay_seconds:g}"
    taken = f"{spool.instance_bytes >> 20}, {spool.study_bytes >> 30}, {spool.study_instances}"
    assert limits["`instance_mib`, `study_gib`, `study_instances`"] == taken
    assert limits["`free_gib`"] == str(spool.free_bytes >> 30)


def cells(heading, until):
    """First and last cell of each row of the tables of a part of the page."""
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    part = text[text.index(heading) : text.index(until)]
    return re.findall(r"^\| (`.*?) \| .* \| (.*?) \|$", part, re.MULTILINE)
