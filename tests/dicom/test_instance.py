"""Headers are read within limits, whatever the file says of itself."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

import medkit.dicom.instance
from medkit.dicom import Limits, read
from medkit.dicom.findings import Refused
from medkit.dicom.instance import read_instance
from medkit.dicom.sources import SourceFile
from tests.dicom_series.stacks import save


def opened(path, limits=None):
    return read_instance(SourceFile(path, path.name, path.stat().st_size), limits or Limits())


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
def test_the_pixels_are_found_and_not_read(syntax, stack, tmp_path):
    dataset = stack.datasets[0]
    dataset.file_meta.TransferSyntaxUID = syntax
    save(tmp_path / "a", dataset)
    instance = opened(tmp_path / "a")
    assert instance.transfer_syntax == syntax
    assert instance.pixels.length == 14 * 12 * 2
    assert "PixelData" not in instance.elements
    if instance.deflated is None:
        assert (tmp_path / "a").read_bytes()[instance.pixels.offset :] == dataset.PixelData


def test_a_deflated_header_is_inflated_no_further_than_the_limit(stack, tmp_path):
    dataset = stack.datasets[0]
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.add_new(0x00204000, "LT", "")
    dataset.add_new(0x00091001, "OB", bytes(3_000_000))
    save(tmp_path / "bomb", dataset)
    assert (tmp_path / "bomb").stat().st_size < 10_000
    assert opened(tmp_path / "bomb").pixels is not None
    with pytest.raises(Refused) as refused:
        opened(tmp_path / "bomb", Limits(header_bytes=1_000_000))
    assert refused.value.finding.code == "too-large"


def test_of_a_file_without_a_preamble_no_more_is_held_than_the_limit(stack, tmp_path):
    save(tmp_path / "a", stack.datasets[0])
    whole = (tmp_path / "a").read_bytes()[128:]
    (tmp_path / "bare").write_bytes(whole + bytes(1_000_000))
    end = opened(tmp_path / "bare").pixels.offset
    assert whole[end:] == stack.datasets[0].PixelData
    assert opened(tmp_path / "bare", Limits(header_bytes=end)).pixels.offset == end
    with pytest.raises(Refused) as refused:
        opened(tmp_path / "bare", Limits(header_bytes=end - 200))
    assert refused.value.finding.code == "too-large"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty-file"),
        (bytes(5000), "empty-file"),
        (b"# Licence\n", "not-dicom"),
        (b"\x08\x00 looks like it", "truncated"),
        (bytes(128) + b"DICM", "truncated"),
    ],
)
def test_what_is_no_dicom_file(content, code, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(Refused) as refused:
        opened(tmp_path / "x")
    assert refused.value.finding.code == code
    assert refused.value.finding.message.startswith("x: expected")


def test_a_header_cut_at_any_place_is_refused(stack, tmp_path):
    save(tmp_path / "whole", stack.datasets[0])
    data = (tmp_path / "whole").read_bytes()
    end = opened(tmp_path / "whole").pixels.offset
    for cut in range(140, end, 37):
        (tmp_path / "cut").write_bytes(data[:cut])
        reading = read(tmp_path / "cut")
        assert not reading.volumes
        assert [refusal.code for refusal in reading.refused] in (["truncated"], ["no-pixels"]), cut


def test_explicit_elements_under_the_name_of_implicit_ones(stack, tmp_path):
    dataset = stack.datasets[0]
    save(tmp_path / "a", dataset)
    data = (tmp_path / "a").read_bytes()
    lie = data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0", 1)
    assert lie != data
    (tmp_path / "a").write_bytes(lie)
    assert opened(tmp_path / "a").pixels.length == 14 * 12 * 2


def test_a_program_s_beginning_is_noted(stack, written):
    folder = written(stack.datasets)
    path = folder / "000.dcm"
    data = path.read_bytes()
    path.write_bytes(b"MZ" + data[2:])
    (volume,) = read(folder).volumes
    assert "executable-preamble" in [note.code for note in volume.notes]


def test_a_deflated_stream_that_is_broken(tmp_path):
    meta, stream = Dataset(), io.BytesIO()
    meta.add_new(0x00020010, "UI", DeflatedExplicitVRLittleEndian)
    target = DicomIO(stream)
    target.is_implicit_VR, target.is_little_endian = False, True
    write_dataset(target, meta)
    packed = zlib.compress(b"x" * 1000)[2:]
    (tmp_path / "x").write_bytes(bytes(128) + b"DICM" + stream.getvalue() + packed[:4] + b"\xff" * 20)
    with pytest.raises(Refused) as refused:
        opened(tmp_path / "x")
    assert refused.value.finding.code == "truncated"


def test_no_element_is_read_that_nothing_uses():
    code = "".join(path.read_text() for path in Path(medkit.dicom.__file__).parent.glob("*.py"))
    unused = [name for name in medkit.dicom.instance._KEYWORDS if code.count(f'"{name}"') < 2]
    # pydicom decodes names by the character set; a time needs its date.
    assert set(unused) <= {"SpecificCharacterSet"}
