from __future__ import annotations

import json
import pickle
from datetime import time
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from medkit.batch.audit import FIELDS
from medkit.batch.cluster.settings import ClusterSettings
from medkit.batch.hours import Hours
from medkit.batch.ledger import Policy
from medkit.batch.making import BundleSettings, Outputs
from medkit.batch.making.context import REPAIRS
from medkit.batch.service.settings import (
    ArchiveSettings,
    NodeSettings,
    PullSettings,
    WatchSettings,
    WorkLimits,
    read_settings,
)
from medkit.batch.spool import SpoolLimits
from medkit.dicom.confidentiality import Dates
from medkit.dicom.network.dimse import MoveTarget
from medkit.dicom.network.tls import TlsFiles
from medkit.dicom.writing.results import ResultKind
from medkit.dicom.writing.segmentation import SegmentationType
from medkit.errors import UsageError
from medkit.inference.mirroring import parse_axes

RULES = "rules: [{name: any, bundle: brain, inputs: {image: {modality: MR}}}]\n"
SMALL = """\
folder: night
rules: rules.yaml
sources:
  folders:
    - folder: incoming
destinations:
  folders: {out: results}
"""
WHOLE = """\
folder: night
rules: rules.yaml
sources:
  nodes:
    - {ae_title: MEDKIT, callers: [SCANNER, PACS], port: 0, associations: 4, count_at: web,
       ends: [abort], tls: {certificate: c.pem, key: k.pem}}
  folders:
    - {folder: incoming, poll_seconds: 30, rest_seconds: 2.5, remove: true}
  archives:
    - {archive: pacs, filter: {ModalitiesInStudy: MR}, hours: ["mon-fri 20:00-06:00"], round_seconds: 60}
    - {archive: web, studies: studies.txt, instances_per_second: 50}
archives:
  dimse:
    pacs: {host: pacs.example.org, port: 104, ae_title: PACS, move: {ae_title: MOVE, port: 11113}}
  dicomweb:
    web: {url: "https://pacs.example.org/dicom-web", token_variable: PACS_TOKEN, tls: {authority: /etc/ca.pem}}
destinations:
  folders: {out: results}
  archives: [pacs]
outputs: {kinds: [seg, sr], segmentation_type: LABELMAP, allow_sheared: true, repairs: [split-gaps],
  deidentify: shift-dates}
bundles:
  brain: {accept_licence: true, flips: LR, overrides: {overlap: 0.5}, location: bundles/brain}
workers: 2
device: cuda:0
quiet_seconds: 90
retention_days: 7
shadow: true
limits: {memory_gib: 12, stage_seconds: 600, stop_seconds: 5, attempts: 2, retry_seconds: 30, instance_mib: 10,
  study_gib: 2, study_instances: 100, free_gib: 1.5}
status: {host: 0.0.0.0, port: 9000, names: [Status.example.org, medkit]}
alerts: {silent_hours: 3, expected: "mon-fri 07:00-19:00", delivery_hours: 1}
"""


def write(folder, text):
    (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
    path = folder / "service.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_becomes_settings(tmp_path):
    settings = read_settings(write(tmp_path, WHOLE))
    assert settings.job.root == tmp_path / "night"
    assert [rule.name for rule in settings.rules] == ["any"]
    tls = TlsFiles(tmp_path / "c.pem", tmp_path / "k.pem")
    options = {"port": 0, "tls": tls}
    assert settings.nodes == (NodeSettings("MEDKIT", ("SCANNER", "PACS"), options, 4, "web", ("abort",)),)
    assert settings.watched == (
        WatchSettings(tmp_path / "incoming", {"rest_seconds": 2.5, "remove": True}, poll_seconds=30),
    )
    night = Hours(frozenset(range(5)), time(20), time(6))
    assert settings.pulls == (
        PullSettings(
            "pacs", {"filter": {"ModalitiesInStudy": "MR"}}, {"windows": (night,), "round_seconds": 60}
        ),
        PullSettings("web", {"studies": tmp_path / "studies.txt"}, {"instances_per_second": 50}),
    )
    move = MoveTarget("MOVE", 11113)
    assert settings.archives == {
        "pacs": ArchiveSettings(
            "dimse", {"host": "pacs.example.org", "port": 104, "ae_title": "PACS", "move": move}
        ),
        "web": ArchiveSettings(
            "dicomweb",
            {
                "url": "https://pacs.example.org/dicom-web",
                "token_variable": "PACS_TOKEN",
                "tls": TlsFiles(authority=Path("/etc/ca.pem")),
            },
        ),
    }
    assert (settings.folders, settings.sending) == ({"out": tmp_path / "results"}, ("pacs",))
    kinds = (ResultKind.SEGMENTATION, ResultKind.REPORT)
    assert settings.outputs == Outputs(
        kinds,
        SegmentationType.LABELMAP,
        allow_sheared=True,
        repairs=["split-gaps"],
        deidentify=Dates.SHIFTED,
    )
    bundle = BundleSettings({"overlap": 0.5}, "LR", accept_licence=True, location=tmp_path / "bundles/brain")
    assert settings.bundles == {"brain": bundle}
    assert (settings.workers, settings.device, settings.quiet_seconds) == (2, "cuda:0", 90)
    assert (settings.retention_days, settings.shadow) == (7, True)
    assert settings.limits == WorkLimits(12 << 30, 600, 5)
    assert settings.spool == SpoolLimits(10 << 20, 2 << 30, 100, 3 << 29)
    assert settings.policy == Policy(attempts=2, delay_seconds=30)
    assert (settings.status_host, settings.status_port) == ("0.0.0.0", 9000)
    assert settings.status_names == ("Status.example.org", "medkit")
    assert settings.thresholds.expected == Hours(frozenset(range(5)), time(7), time(19))
    assert (settings.thresholds.silent_hours, settings.thresholds.delivery_hours) == (3, 1)


def test_a_worker_process_can_be_given_them(tmp_path):
    settings = read_settings(write(tmp_path, WHOLE))
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_little_has_to_be_said(tmp_path):
    settings = read_settings(write(tmp_path, SMALL))
    assert settings.watched == (WatchSettings(tmp_path / "incoming"),)
    assert (settings.workers, settings.shadow, settings.policy) == (1, False, Policy())
    assert settings.status_host == "127.0.0.1"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("folder: night\n", "", "the whole: expected a mapping with 'folder', 'rules'"),
        ("workers: 2", "workers: two", "workers: expected a whole number of at least 1, got 'two'"),
        ("workers: 2", "wrokers: 2", "wrokers: unknown key 'wrokers'; did you mean 'workers'?"),
        ("port: 104", "port: 0", "archives.dimse.pacs.port: expected a port from 1 to 65535, got 0"),
        (", medkit]", ", 'medkit:9000']", "status.names[2]: expected a host name without a port"),
        (", medkit]", ", '*.org']", "status.names[2]: expected a host name without a port"),
        ("dimse:\n    pacs: {", "dimse:\n    _pacs: {", "archives.dimse: expected a name of letters, digits"),
        ("archives: [pacs]", "archives: [-pacs]", "destinations.archives[1]: expected a name of letters"),
        ("archive: web", "archive: my web", "sources.archives[2].archive: expected a name of letters"),
        ("{out: results}", "{my out: results}", "destinations.folders: expected a name of letters"),
        ("bundles:\n  brain: {", f"bundles:\n  {'b' * 65}: {{", "bundles: expected a name of letters"),
        ("archives: [pacs]", "archives: [pax]", "expected the name of an archive (pacs, web), got 'pax'"),
        ("count_at: web", "count_at: net", "sources.nodes[1].count_at: expected the name of an archive"),
        ("archive: web", "archive: net", "sources.archives[2].archive: expected the name of an archive"),
        ("mon-fri 20:00-06:00", "20-6", "sources.archives[1].hours[1]: expected hours such as"),
        ("mon-fri 07:00-19:00", "7-19", "alerts.expected: expected hours such as"),
        ("studies: studies.txt", "round_seconds: 5", "expected one of studies, accessions, filter, got none"),
        ("studies: st", "accessions: a, studies: st", "got studies and accessions"),
        ("rest_seconds: 2.5", "rest_seconds: 60", "sources.folders[1]: expected rest_seconds plus"),
        ("poll_seconds: 30", "poll_seconds: 87.5", "below quiet_seconds, got 2.5 + 87.5 and 90"),
        ("quiet_seconds: 90", "quiet_seconds: 7", "below quiet_seconds, got 2.5 + 30 and 7"),
        ("folder: incoming", "folder: .", "expected a folder apart from that of the batch"),
        ("folder: incoming", "folder: night/in", "expected a folder apart from that of the batch"),
        ("{out: results}", "{pacs: results}", "expected a name of its own, got that of an archive"),
        ("https://pacs", "https://user:word@pacs", "expected a URL without a password in it"),
        ("kinds: [seg, sr]", "kinds: []", "outputs.kinds: expected a list of seg, sr and sc, got []"),
        ("[split-gaps]", "[straighten]", "expected a repair after which"),
        ("MEDKIT, callers", "TOO-LONG-A-TITLE-X, callers", "expected an AE title of at most 16"),
        ("flips: LR", "flips: XX", "bundles.brain.flips: expected axes of the body, LR, AP and SI, with commas between"),
        ("flips: LR", "flips: LR AP", "bundles.brain.flips: expected axes of the body"),
        ("port: 0", "port: 9000", "nodes[1].port: expected a port of its own, got 9000, that of the status page"),
        ("port: 11113", "port: 9000", "archives.dimse.pacs.move.port: expected a port of its own, got 9000"),
        ("callers: [SCANNER, PACS]", "callers: ['SCAN\\NER']", "letters of ASCII, none a backslash, the first and"),
        ("host: pacs.example.org", "host: 'http://127.0.0.1'", "expected a host name or address, without http"),
        ("callers: [SCANNER, PACS]", "callers: []", "expected a list of AE titles that may call"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_line_and_key(tmp_path, old, new, said):
    assert old in WHOLE
    path = write(tmp_path, WHOLE.replace(old, new, 1))
    with pytest.raises(UsageError) as raised:
        read_settings(path)
    line = 1 + WHOLE[: WHOLE.index("rest_seconds" if "got 2.5 +" in said else old)].count("\n")
    assert str(raised.value).startswith(f"{path}: line {line}: ")
    assert said in str(raised.value)


def test_a_destination_without_any_archive_says_where_to_name_one(tmp_path):
    path = write(tmp_path, SMALL.replace("folders: {out: results}", "archives: [pacs]"))
    with pytest.raises(
        UsageError, match=r"\(none yet: name one below archives.dimse or archives.dicomweb\), got 'pacs'"
    ):
        read_settings(path)


def test_a_fault_in_the_rules_is_told_as_well(tmp_path):
    path = write(tmp_path, SMALL)
    (tmp_path / "rules.yaml").write_text(RULES.replace("modality", "modalty: x, modality"), encoding="utf-8")
    with pytest.raises(UsageError, match=r"rules.yaml: line 1: .*modalty"):
        read_settings(path)


def test_all_faults_of_both_files_are_told_a_line_each(tmp_path):
    text = (
        WHOLE.replace("workers: 2", "wrokers: 2")
        .replace("port: 104", "port: 0")
        .replace("out: results", "out: 3")
    )
    path = write(tmp_path, text)
    (tmp_path / "rules.yaml").write_text(RULES.replace("bundle", "bundel"), encoding="utf-8")
    with pytest.raises(UsageError) as raised:
        read_settings(path)
    places = [line.removeprefix(f"{tmp_path}/").split(": ")[:3] for line in str(raised.value).splitlines()]
    assert [(file, key) for file, _, key in places] == [
        ("service.yaml", "archives.dimse.pacs.port"),
        ("service.yaml", "destinations.folders.out"),
        ("service.yaml", "wrokers"),
        ("rules.yaml", "rules[1].bundel"),
    ]


def test_a_bundle_that_no_rule_uses_is_told_beside_other_faults(tmp_path):
    path = write(tmp_path, WHOLE.replace("workers: 2", "wrokers: 2").replace("  brain: {", "  brian: {"))
    with pytest.raises(UsageError, match=r"line \d+: wrokers: .*\n.*line 23: bundles\.brian: "):
        read_settings(path)


def test_rules_that_are_not_there_are_told_where_they_are_named(tmp_path):
    path = write(tmp_path, SMALL)
    (tmp_path / "rules.yaml").unlink()
    with pytest.raises(UsageError, match=r"service\.yaml: line 2: rules: .*rules\.yaml: no such file$"):
        read_settings(path)


def test_settings_of_a_bundle_that_no_rule_uses_are_refused(tmp_path):
    path = write(tmp_path, f"{SMALL}bundles:\n  brian: {{location: /nowhere}}\n")
    with pytest.raises(UsageError) as raised:
        read_settings(path)
    assert str(raised.value) == (
        f"{path}: line 9: bundles.brian: expected a bundle that a rule uses (brain), got 'brian'; did you mean 'brain'?"
    )
    with pytest.raises(UsageError, match=r"got 'trains'; mend the name, or leave it out$"):
        read_settings(write(tmp_path, f"{SMALL}bundles:\n  trains: {{}}\n"))


def test_a_folder_comes_to_rest_before_a_study_is_complete_though_the_file_says_nothing_of_it(tmp_path):
    with pytest.raises(UsageError, match=r"below quiet_seconds, got 10 \+ 5 and 15"):
        read_settings(write(tmp_path, f"{SMALL}quiet_seconds: 15\n"))


@pytest.mark.parametrize("name", ["out-", "2.Out_", "o" * 64])
def test_a_name_that_is_taken_is_one_to_the_audit_log(tmp_path, name):
    settings = read_settings(write(tmp_path, SMALL.replace("{out:", f"{{{name}:")))
    assert list(settings.folders) == [name]
    assert FIELDS["destination"].fullmatch(name)


@pytest.mark.parametrize("flips", ["", "LR", "si, LR", "AP,SI,LR", "lr,"])
def test_flips_are_taken_as_they_are_read_later(tmp_path, flips):
    text = f"{SMALL}bundles: {{brain: {{flips: '{flips}'}}}}\n"
    assert parse_axes(read_settings(write(tmp_path, text)).bundles["brain"].flips) is not None


NODES = """\
folder: night
rules: rules.yaml
sources:
  nodes:
    - {ae_title: A, callers: [S]}
    - {ae_title: B, callers: [S], host: HOST, port: PORT}
destinations: {folders: {out: results}}
"""


def test_two_nodes_listen_on_a_port_of_their_own_each(tmp_path):
    def text(port, host="127.0.0.1"):
        return NODES.replace("PORT", str(port)).replace("HOST", host)

    for port, host, other in (
        (11112, "127.0.0.1", "A"),
        (11112, "0.0.0.0", "A"),
        (8090, "0.0.0.0", "the status"),
    ):
        with pytest.raises(
            UsageError, match=rf"line 6: sources\.nodes\[2\]\.port: .*got {port}, that of .*{other}"
        ):
            read_settings(write(tmp_path, text(port, host)))
    for port, host in ((11113, "127.0.0.1"), (0, "0.0.0.0"), (11112, "192.0.2.1")):
        assert len(read_settings(write(tmp_path, text(port, host))).nodes) == 2


def test_names_are_told_apart(tmp_path):
    archive = "archives:\n  dimse: {a: {host: h, port: 1, ae_title: A}}\n  dicomweb: {a: {url: 'http://h'}}\n"
    with pytest.raises(UsageError, match=r"line 10: archives\.dicomweb\.a: expected a name of its own"):
        read_settings(write(tmp_path, SMALL + archive))


CLUSTER = f"""{SMALL}cluster:
  {{scheduler: 'tls://head:8786', studies: 4, resources: {{GPU: 1}}, folder: /mnt/night, tls: {{authority: ca.pem}}}}
"""


def test_a_cluster_is_named_in_the_place_of_workers(tmp_path):
    settings = read_settings(write(tmp_path, CLUSTER))
    assert settings.cluster == ClusterSettings(
        "tls://head:8786",
        studies=4,
        resources={"GPU": 1},
        folder=Path("/mnt/night"),
        tls=TlsFiles(authority=tmp_path / "ca.pem"),
    )
    by_file = read_settings(write(tmp_path, SMALL + "cluster: {scheduler_file: s.json}\n")).cluster
    assert by_file == ClusterSettings(scheduler_file=tmp_path / "s.json")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("scheduler: 'tls://head:8786', ", "", "cluster: expected one of scheduler and scheduler_file, got none"),
        ("studies: 4", "scheduler_file: s.json", "cluster: expected one of scheduler and scheduler_file, got both"),
        ("tls://head", "tcp://head", "cluster: expected an address that begins with tls://"),
        ("tls: {authority: ca.pem}", "studies: 2", "cluster: expected files for TLS with tls://head:8786, got none"),
        ("cluster:\n", "workers: 2\ncluster:\n", "workers: expected no number of workers beside a cluster, got one"),
        ("{GPU: 1}", "{GPU: 0}", "cluster.resources.GPU: expected a number above 0"),
        ("'tls://head:8786'", "head", "cluster.scheduler: expected an address such as tcp://head:8786"),
    ],
)  # fmt: skip
def test_a_fault_in_a_cluster_is_told(tmp_path, old, new, said):
    assert old in CLUSTER
    text = (
        CLUSTER.replace(", studies: 4", "").replace(old, new)
        if new == "studies: 2"
        else CLUSTER.replace(old, new)
    )
    with pytest.raises(UsageError) as raised:
        read_settings(write(tmp_path, text))
    assert said in str(raised.value)


def schema():
    return json.loads((files("medkit") / "schemas" / "service.schema.json").read_text(encoding="utf-8"))


def test_the_schema_is_one_and_knows_every_repair_that_results_may_have():
    Draft202012Validator.check_schema(schema())
    repairs = schema()["properties"]["outputs"]["properties"]["repairs"]["items"]["enum"]
    assert repairs == REPAIRS
    assert schema()["properties"]["outputs"]["properties"]["deidentify"]["enum"] == [*Dates]
