"""The page on nodes and archives shows what works, and names codes, arguments and attributes that are there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from medkit.dicom.network import dicomweb, dimse, node
from medkit.dicom.network.content import LEFT_ASIDE
from medkit.dicom.network.private_classes import PRIVATE_CLASSES
from medkit.dicom.network.syntaxes import COMPRESSED, NATIVE
from medkit.dicom.rejected import RejectionReason
from tests.dicom.network.conftest import write_study
from tests.dicom.network.takers import CALLER, Taken
from tests.servers.fixtures import loopback, own_network
from tests.test_readme import blocks

__all__ = ["loopback", "own_network"]

ROOT = Path(__file__).parents[1]
PAGE = "docs/pacs.md"
PORT = "11112"


def test_the_examples_run():
    made = {}
    examples = blocks(PAGE, "python")
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, PAGE, "exec"), made)
    assert made["taken"] == []
    assert made["archive"].name == "PACS at pacs.example.org:104"
    assert all(hasattr(made["archive"], name) for name in re.findall(r"# archive\.(\w+)\(", examples[1]))


def test_every_code_of_a_refusal_is_named():
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    files = list((ROOT / "medkit" / "dicom" / "network").glob("*.py"))
    assert len(files) > 8, "this test has lost its subject"
    codes = {
        code
        for path in files
        for code in re.findall(
            r'ArchiveRefused\(\s*"([a-z-]+)"|_refused\("([a-z-]+)"', path.read_text(encoding="utf-8")
        )
        for code in code
        if code
    }
    assert len(codes) > 5
    assert [code for code in sorted(codes) if f"`{code}`" not in text] == []


def test_private_classes_are_those_that_the_node_takes():
    text = (ROOT / "docs" / "dicom_conformance.md").read_text(encoding="utf-8")
    part = text.partition("### Private storage classes")[2].partition("###")[0]
    listed = re.findall(r"(?<![\d.])\d+(?:\.\d+){5,}", part)
    assert sorted(listed) == sorted(PRIVATE_CLASSES)


def test_statuses_and_titles_are_the_codes_own():
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    assert all(reason.value[0] in text for reason in RejectionReason)
    assert {"RetrieveAETitle", "RetrieveURL", "InstanceAvailability", "StorageMediaFileSetUID"} <= set(
        LEFT_ASIDE
    )
    assert all(
        hasattr(node.NodeLimits(), name)
        for name in ("associations", "instance_bytes", "pdu_bytes", "seconds")
    )
    assert dimse.MoveTarget("A", 1).host == "127.0.0.1"
    assert (
        dicomweb.DicomwebArchive("https://pacs.example.org/dicom-web").name
        == "https://pacs.example.org/dicom-web"
    )


def test_the_conformance_statement_names_what_is_negotiated():
    text = (ROOT / "docs" / "dicom_conformance.md").read_text(encoding="utf-8")
    limits = node.NodeLimits()
    assert f"at most {limits.pdu_bytes} bytes" in text
    assert f"| at one time | {limits.associations} with a node" in text
    assert f"{limits.seconds} s for association" in text
    models = (
        dimse.StudyRootQueryRetrieveInformationModelFind,
        dimse.StudyRootQueryRetrieveInformationModelGet,
    )
    for uid in (*models, dimse.StudyRootQueryRetrieveInformationModelMove, dimse.LabelMapSegmentationStorage):
        assert str(uid) in text
    (row,) = [line for line in text.splitlines() if line.startswith("| node, and C-GET")]
    places = [
        row.index(name)
        for name in ("Explicit VR Little", "Implicit VR Little", "Deflated", "Big Endian", "JPEG-LS")
    ]
    assert places == sorted(places)
    assert len({*NATIVE, *COMPRESSED}) == len(NATIVE) + len(COMPRESSED) == 20


def call(line: str, port: int, folder) -> subprocess.CompletedProcess[str]:
    given = shlex.split(line)
    assert (given[:2], given.count(PORT)) == (["python", "-m"], 1)
    words = [str(port) if word == PORT else word for word in given[1:]]
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_programs_of_the_environment_reach_a_node(loopback, tmp_path):
    echo, store = next(block for block in blocks(PAGE, "text") if "echoscu" in block).splitlines()
    study, taken = write_study(tmp_path / "study"), Taken()
    with node.StorageNode("MEDKIT", taken, [CALLER], port=0) as listening:
        assert "0x0000 - Success" in call(echo, listening.port, tmp_path).stderr
        done = call(store, listening.port, tmp_path)
        assert (done.returncode, done.stderr, len(taken.files)) == (0, "", len(study))
        taken.status = 0xA700
        assert call(store, listening.port, tmp_path).returncode == 0
        assert "0xA700 - Failure" in call(f"{store} -v", listening.port, tmp_path).stderr
        stranger = call(store.replace(CALLER, "STRANGER"), listening.port, tmp_path)
        assert stranger.returncode == 1
        assert "Calling AE title not recognised" in stranger.stderr
