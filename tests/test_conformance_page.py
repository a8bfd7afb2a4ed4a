"""The conformance statement lists the objects that are made, as they are made, and medkit's names on the network."""

from __future__ import annotations

import inspect
import re

import highdicom
import pynetdicom
import pytest

from medkit.dicom.network.dimse import DimseArchive
from medkit.dicom.network.node import StorageNode
from medkit.dicom.network.rejection import make_rejection_note
from medkit.dicom.rejected import RejectionReason
from medkit.dicom.writing.saving import save
from tests.dicom.writing.oracles import read_back
from tests.dicom.writing.sources import source_with
from tests.dicom.writing.test_finishing import MAKERS
from tests.test_readme import ROOT

TEXT = (ROOT / "docs" / "dicom_conformance.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One object of each kind, as it is read from its file; the last is a rejection note."""
    folder = tmp_path_factory.mktemp("made")
    source = source_with(folder / "source")
    objects = [make(source) for make in MAKERS.values()]
    objects.append(make_rejection_note(objects[:1]))
    for number, one in enumerate(objects):
        save(one, folder / f"{number}.dcm")
    return [read_back(folder / f"{number}.dcm") for number in range(len(objects))]


def rows(heading: str) -> list[list[str]]:
    """Cells of the table below a heading."""
    part = TEXT.partition(f"\n{heading}\n")[2].partition("\n#")[0]
    found = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")][2:]
    assert found
    return [[cell.strip() for cell in row] for row in found]


def test_objects_are_those_that_are_made(made):
    stated = {
        (uid, modality): (name, syntax)
        for _, names, uids, syntax, modalities in rows("## Objects")
        for name, uid, modality in zip(*(cell.split(", ") for cell in (names, uids, modalities)), strict=True)
    }
    assert stated.keys() == {(str(one.SOPClassUID), one.Modality) for one in made}
    for one in made:
        name, syntax = stated[str(one.SOPClassUID), one.Modality]
        assert one.SOPClassUID.name in (name, str(one.SOPClassUID))  # pydicom does not know each yet
        assert one.file_meta.TransferSyntaxUID.name == syntax


def test_series_numbers_are_those_that_are_made(made):
    (value,) = [row[1] for row in rows("## What all of them have") if row[0] == "Series Number"]
    assert set(re.findall(r"\b9\d\b", value)) == {str(one.SeriesNumber)[-2:] for one in made}
    note, source = made[-1].SeriesNumber, made[0].SeriesNumber
    assert (note % 100, note // 100) == (95, source // 100)


def test_the_note_is_described_as_it_is(made):
    part = TEXT.partition("\n## Rejection note\n")[2].partition("\n## ")[0]
    title = made[-1].ConceptNameCodeSequence[0]
    assert f"{title.CodeValue} (DCM, {title.CodeMeaning})" in part
    assert f'"{made[-1].ContentSequence[0].TextValue}"' in part
    assert set(re.findall(r"\b1130\d\d\b", part)) == {reason.value[0] for reason in RejectionReason}
    assert [one.get("ContentQualification") for one in made] == [*["RESEARCH"] * len(MAKERS), None]


def test_names_on_the_network():
    cells = dict(rows("## Network"))
    uid, name = pynetdicom.PYNETDICOM_IMPLEMENTATION_UID, pynetdicom.PYNETDICOM_IMPLEMENTATION_VERSION
    version = pynetdicom.__version__
    assert f"{uid}, and {name}, with {version}" in cells["Implementation Class UID, and Version Name"]
    own = inspect.signature(DimseArchive).parameters["own_ae_title"].default
    assert cells["AE title, as a caller of archives"].startswith(f"{own},")
    node = inspect.signature(StorageNode).parameters
    assert node["ae_title"].default is inspect.Parameter.empty
    assert cells["port of a node"].startswith(f"{node['port'].default},")


def test_names_in_files(made):
    uids = {str(one.file_meta.ImplementationClassUID) for one in made}
    assert len(uids) == 1
    assert uids.pop() in TEXT
    assert {one.file_meta.ImplementationVersionName for one in made} == {f"highdicom{highdicom.__version__}"}
