"""Studies are of their own, and those that are broken are so in their way."""

from __future__ import annotations

import pytest
from batch_studies import WAYS, Sample, write_broken, write_hippocampus, write_small

from medkit.batch.identity import hash_uid
from medkit.dicom import read
from medkit.dicom.objects import read_uids

# What the reader says of a study by itself; the others are for the store, the rules, the bundle or the worker to find.
SEEN = {
    "a slice is missing": ["gap"],
    "no positions": ["no-geometry"],
    "two patients": ["mixed-patient"],
    "too few pixels in a slice": ["truncated"],
    "one instance with two contents": ["duplicate"],
    "a file is cut short": ["truncated"],
}


@pytest.mark.parametrize("write", [write_small, write_hippocampus])
def test_good_ones_can_be_read_and_differ(tmp_path, write):
    samples = [write(tmp_path / str(number), number) for number in (3, 4)]
    assert [{hash_uid(read_uids(path).study) for path in one.files} for one in samples] == [
        {one.study} for one in samples
    ]
    volumes = [read(one.folder).volumes for one in samples]
    assert [len(found) for found in volumes] == [1, 1]
    instances = [{read_uids(path).instance for path in one.files} for one in samples]
    assert not instances[0] & instances[1]
    assert write(tmp_path / "3", 3) == samples[0] == Sample(3, tmp_path / "3"), "written once"


@pytest.mark.parametrize("way", WAYS)
def test_broken_ones_are_broken_in_their_way(tmp_path, way):
    sample = write_broken(tmp_path / "study", 5, way)
    assert {read_uids(path).study for path in sample.files} == {read_uids(sample.files[0]).study}
    reading = read(sample.folder)
    assert [finding.code for finding in reading.refused] == SEEN.get(way, [])
    if way == "two series for one input":
        assert len(reading.volumes) == 2
    if way == "nothing that a rule wants":
        assert [series.modality for series in reading.series] == ["OT"]
