"""What people read is short: each thing once, and files of other kinds in one line."""

from __future__ import annotations

import pytest

from medkit.cli.dicom_verdicts import exit_code, print_verdicts


def finding(code="tilt", message="slices are shifted"):
    return {"code": code, "message": message}


def volume(name, *notes):
    return {"name": name, "shape": [2, 3, 4], "type": "int16", "notes": list(notes), "repairs": []}


def series(*volumes, number=3, notes=(), refusals=()):
    return {
        "number": number,
        "modality": "MR",
        "files": 9,
        "verdict": "refused" if refusals else "read",
        "volumes": list(volumes),
        "notes": list(notes),
        "refusals": list(refusals),
    }


def printed(capsys, record, verbose=False):
    print_verdicts({"refusals": [], **record}, verbose=verbose)
    return capsys.readouterr().err


def test_what_volumes_share_is_told_once(capsys):
    names = [f"003_{letter}" for letter in "abcde"]
    everywhere, somewhere, here = finding(), finding("lossy", "with loss"), finding("lut", "a table")
    notes = [
        [everywhere, somewhere],
        [everywhere, somewhere],
        [everywhere, somewhere],
        [everywhere, somewhere],
    ]
    volumes = [volume(name, *found) for name, found in zip(names, [*notes, [everywhere, here]], strict=True)]
    assert printed(capsys, {"series": [series(*volumes)]}) == (
        "\nseries 3, all 5 volumes: tilt: slices are shifted\n"
        "003_a, 003_b, 003_c and 1 more: lossy: with loss\n"
        "003_e: lut: a table\n"
    )


def test_series_are_blocks(capsys):
    record = {
        "series": [
            series(volume("003", finding())),
            series(volume("004"), number=4),
            series(
                number=None,
                notes=[finding("no-series-uid", "none")],
                refusals=[finding("gap", "2 are missing")],
            ),
        ]
    }
    assert printed(capsys, record) == (
        "\n003: tilt: slices are shifted\n\nseries: no-series-uid: none\nrefused series: gap: 2 are missing\n"
    )


def test_files_of_other_kinds_are_one_line_unless_asked_for(capsys):
    others = [
        finding("not-dicom", f"{name}: expected a DICOM file, got another kind")
        for name in ("a.txt", "b.txt")
    ]
    missed = finding("misnamed", "c.dcm: expected a DICOM file as its name says")
    record = {"series": [], "refusals": [others[0], missed, others[1]]}
    assert printed(capsys, record) == (
        "\nleft out misnamed: c.dcm: expected a DICOM file as its name says\n"
        "left out 2 files that are no DICOM images, the first a.txt; --verbose names all\n"
    )
    told = printed(capsys, record, verbose=True)
    assert [name in told for name in ("a.txt", "b.txt", "c.dcm")] == [True] * 3
    assert "a.txt: expected" in printed(capsys, {"series": [], "refusals": others[:1]})


@pytest.mark.parametrize(
    ("record", "code"),
    [
        ({"series": [series(volume("3"))], "refusals": [finding("not-dicom"), finding("directory")]}, 0),
        ({"series": [series(volume("3"))], "refusals": [finding("misnamed")]}, 3),
        ({"series": [series(volume("3")), series(refusals=[finding()])], "refusals": []}, 3),
        ({"series": [series(refusals=[finding()])], "refusals": []}, 4),
        ({"series": [], "refusals": []}, 4),
    ],
)
def test_exit_codes(record, code):
    assert exit_code(record) == code
