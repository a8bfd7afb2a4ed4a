"""Nothing that an earlier run made is replaced or removed unless it was asked for."""

from __future__ import annotations

import json
import shutil

import pytest

from medkit.data import Case
from medkit.errors import CaseError, UsageError
from medkit.inference.earlier_results import check_keeps_results
from medkit.inference.records import describe_files, record_path, save_failure

MADE_BY = {"bundle": "b", "bundle_version": "1", "bundle_digest": "0" * 64, "overrides": {}, "device": "cpu"}
MIRRORED = {**MADE_BY, "flips": {"axes": ["LR"], "swapped": []}}
REMEDY = "choose another folder, or --force"
FILES = {
    "labels": "labels/{}.nii.gz",
    "picture": "pictures/{}.png",
    "probabilities": "probabilities/{}.nii.gz",
    "uncertainty": "uncertainty/{}.nii.gz",
}


def results(folder, *kinds, name="a", made_by=MADE_BY):
    """The files of a finished case."""
    outputs = {kind: FILES[kind].format(name) for kind in ("labels", *kinds)}
    for file in outputs.values():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"made overnight")
    record = {"case": name, "status": "done", "outputs": outputs, "volumes_ml": {}, **made_by}
    record["input"] = [{"path": f"/{name}.nii", "sha256": "1" * 64}]
    record_path(folder, name).parent.mkdir(exist_ok=True)
    record_path(folder, name).write_text(json.dumps(record))


def refusal(folder, *kinds, made_by=MADE_BY, names=("a",), anew=False) -> str:
    with pytest.raises(UsageError) as refused:
        check_keeps_results(folder, names, made_by, ["labels", *kinds], REMEDY, anew=anew)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def kept(folder, *kinds, made_by=MADE_BY, names=("a",), anew=False) -> None:
    check_keeps_results(folder, names, made_by, ["labels", *kinds], REMEDY, anew=anew)


def test_the_same_call_again_and_one_that_asks_for_more_take_nothing_away(tmp_path):
    kept(tmp_path)
    results(tmp_path, "picture")
    kept(tmp_path, "picture")
    kept(tmp_path)
    kept(tmp_path, "picture", "probabilities")
    kept(tmp_path, made_by=MIRRORED, names=("b",))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"flips": MIRRORED["flips"]}, "flips none, now LR"),
        ({"overrides": {"x::y": 0.5}}, "overrides none, now x::y=0.5"),
        ({"bundle_digest": "f" * 64}, "bundle_digest 000000000000, now ffffffffffff"),
        (
            {"calibration": {"temperature": 2.0, "applied": False}},
            "calibration none, now temperature=2.0 applied=False",
        ),
        ({"flips": MIRRORED["flips"], "overrides": {"x": 1}}, "overrides none, now x=1, flips none, now LR"),
    ],
)
def test_results_of_other_settings_are_told_with_what_differs(tmp_path, change, told):
    results(tmp_path, "probabilities")
    message = refusal(tmp_path, "probabilities", made_by={**MADE_BY, **change})
    assert message == (
        f"{tmp_path}: expected no results of other settings, got those of 'a' ({told}); {REMEDY} to replace them"
    )


def test_cases_are_counted(tmp_path):
    for name in ("a", "deep/b", "c"):
        results(tmp_path, name=name)
    assert "'a' and 2 more (flips" in refusal(tmp_path, made_by=MIRRORED, names=("a", "new", "deep/b", "c"))


def test_outputs_that_would_not_be_made_again_are_told(tmp_path):
    results(tmp_path, "picture", "probabilities", "uncertainty")
    kept(tmp_path)
    (tmp_path / "labels" / "a.nii.gz").unlink()
    assert "of 'a' (probabilities and uncertainty); ask for that" in refusal(tmp_path)
    kept(tmp_path, "probabilities", "uncertainty")
    results(tmp_path, "probabilities")
    (tmp_path / "uncertainty" / "a.nii.gz").unlink()
    assert "of 'a' (probabilities); ask for that" in refusal(tmp_path, "uncertainty")
    kept(tmp_path, "uncertainty", "probabilities")


def test_what_is_written_anew_is_so_whether_finished_or_not(tmp_path):
    results(tmp_path, "probabilities")
    kept(tmp_path, "probabilities", anew=True)
    assert "of 'a' (probabilities); ask for that" in refusal(tmp_path, anew=True)


def test_results_that_are_gone_need_no_word(tmp_path):
    results(tmp_path)
    shutil.rmtree(tmp_path / "labels")
    kept(tmp_path, made_by=MIRRORED)


def test_results_behind_a_failure_are_kept_as_well(tmp_path):
    """They stayed, because the image could not be read."""
    results(tmp_path, "probabilities")
    gone = describe_files([tmp_path / "gone.nii"])
    save_failure(
        CaseError("file-missing", "x: nothing"), Case("a", (tmp_path / "gone.nii",)), tmp_path, MADE_BY, gone
    )
    assert (tmp_path / "labels" / "a.nii.gz").is_file()
    assert "flips none, now LR" in refusal(tmp_path, made_by=MIRRORED)
    assert "(probabilities)" in refusal(tmp_path)
    kept(tmp_path, "probabilities")
