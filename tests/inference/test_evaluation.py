"""Evaluation over folders: what is scored, what is reported, what is written."""

from __future__ import annotations

import csv
import json
import math

import nibabel as nib
import numpy as np
import pytest

from medkit.data import Grid, write_labels, write_volume
from medkit.errors import ExitCode, UsageError
from medkit.inference import evaluation_files
from medkit.inference.evaluation import evaluate
from tests.inference.label_maps import GRID, NAMES, SHAPE, labels, write


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def folders(tmp_path):
    truth = write(tmp_path / "truth", a=labels(), b=labels(), c=labels())
    predictions = write(tmp_path / "predictions", a=labels(), b=labels(1), c=labels(2))
    return predictions, truth, tmp_path / "output"


def test_every_case_and_label_has_a_row(folders):
    summary = evaluate(*folders)
    rows = read_csv(folders[2] / "scores.csv")
    assert [(row["case"], row["name"]) for row in rows] == [
        (case, name) for case in "abc" for name in ("front", "back")
    ]
    dice = [float(row["dice"]) for row in rows if row["name"] == "front"]
    assert dice == pytest.approx([1.0, 5 / 6, 4 / 6], abs=1e-5)
    assert float(rows[0]["volume_ml"]) == pytest.approx(6 * 5 * 5 * 3.0 / 1000)
    assert summary.exit_code == ExitCode.DONE
    front = summary.labels[0].predictions["dice"]
    assert (front.n, front.worst_case) == (3, "c")
    assert front.mean == pytest.approx(5 / 6)


def test_the_summary_is_valid_json_and_says_what_was_done(folders):
    predictions, truth, output = folders
    write(predictions, b=labels(without=(2,)))
    evaluate(predictions, truth, output)
    record = json.loads((output / "summary.json").read_text(), parse_constant=pytest.fail)
    assert record["cases_total"] == record["cases_scored"] == 3
    back = record["labels"][1]["predictions"]["hd95_mm"]
    assert (back["n"], back["n_infinite"], back["worst"], back["worst_case"]) == (3, 1, None, "b")
    assert set(record["definitions"]) == {
        *("dice", "surface_dice", "hd95_mm", "volume_ml", "truth_volume_ml", "summary")
    }
    assert all(len(hashes["predictions"]) == 64 for hashes in record["sha256"].values())
    assert sorted(path.relative_to(output).as_posix() for path in output.rglob("*.*")) == sorted(
        [*record["files"], "summary.json"]
    )


def test_the_worst_cases_are_drawn_over_their_images(folders, tmp_path):
    predictions, truth, output = folders
    image = np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)
    write_volume(tmp_path / "images" / "c.nii.gz", image, GRID)
    write_volume(tmp_path / "images" / "b.nii.gz", image[1:], Grid((15, *SHAPE[1:]), GRID.affine))
    summary = evaluate(predictions, truth, output, images=tmp_path / "images", worst=3)
    assert [case.case for case in summary.worst] == ["c", "b", "a"]
    assert [case.picture for case in summary.worst] == [
        f"worst/0{n}-{x}.png" for n, x in ((1, "c"), (2, "b"), (3, "a"))
    ]
    assert all((output / case.picture).is_file() for case in summary.worst)
    assert summary.worst[0].reason is None
    assert "expected the grid" in summary.worst[1].reason
    assert summary.worst[2].reason == "no image of this name"


def test_a_missing_prediction_is_a_failed_case(folders):
    predictions, truth, output = folders
    (predictions / "b.nii.gz").unlink()
    write(predictions, extra=labels())
    summary = evaluate(predictions, truth, output)
    assert summary.exit_code == ExitCode.SOME_FAILED
    assert [(found.case, found.source, found.code) for found in summary.failures] == [
        ("b", "predictions", "prediction-missing")
    ]
    assert summary.without_truth == ("extra",)
    assert summary.labels[0].predictions["dice"].n == 2
    record = json.loads((output / "summary.json").read_text())
    assert (record["cases_total"], record["cases_scored"]) == (3, 2)
    assert record["predictions_without_truth"] == ["extra"]


def test_only_what_was_predicted_is_scored_where_that_is_asked_for(folders, tmp_path):
    predictions, truth, output = folders
    (predictions / "b.nii.gz").unlink()
    others = write(tmp_path / "others", b=labels(), c=labels())
    groups = tmp_path / "groups.csv"
    groups.write_text("case,group\na,1\nc,2\n")
    summary = evaluate(predictions, truth, output, against=others, groups=groups, predicted_only=True)
    assert list(summary.scores) == ["a", "c"]
    assert summary.without_prediction == ("b",)
    assert [(found.case, found.source) for found in summary.failures] == [("a", "against")]
    record = json.loads((output / "summary.json").read_text())
    assert (record["cases_total"], record["references_left_out"]) == (2, ["b"])
    (others / "a.nii.gz").write_bytes((predictions / "a.nii.gz").read_bytes())
    again = evaluate(predictions, truth, output, against=others, predicted_only=True)
    assert again.exit_code == ExitCode.DONE


def test_one_bad_case_does_not_stop_the_others(folders):
    predictions, truth, output = folders
    (predictions / "a.nii.gz").write_bytes(b"torn")
    shifted = Grid(SHAPE, GRID.affine @ nib.affines.from_matvec(np.eye(3), (1, 0, 0)))
    write_labels(predictions / "b.nii.gz", labels(), shifted, NAMES)
    write_volume(truth / "c.nii.gz", np.full(SHAPE, 0.5, np.float32), GRID)
    write(truth, d=labels())
    write(predictions, d=labels())
    summary = evaluate(predictions, truth, output)
    assert [(found.case, found.source, found.code) for found in summary.failures] == [
        ("a", "predictions", "file-unreadable"),
        ("b", "predictions", "grids-differ"),
        ("c", "truth", "labels-not-integer"),
    ]
    assert list(summary.scores) == ["d"]


def test_no_case_scored(folders):
    predictions, truth, output = folders
    for path in predictions.iterdir():
        path.write_bytes(b"torn")
    summary = evaluate(predictions, truth, output)
    assert summary.exit_code == ExitCode.NONE_SUCCEEDED
    assert (output / "summary.json").is_file()
    assert read_csv(output / "scores.csv") == []


def test_results_of_predict_and_nested_cases_match(tmp_path):
    truth = write(tmp_path / "truth", **{"site1/a": labels(), "site2/a": labels()})
    write(tmp_path / "results" / "labels", **{"site1/a": labels(), "site2/a": labels(1)})
    (tmp_path / "results" / "report.json").write_text("{}")
    summary = evaluate(tmp_path / "results", truth, tmp_path / "output")
    assert list(summary.scores) == ["site1/a", "site2/a"]
    assert [case.picture for case in summary.worst] == ["worst/01-a.png", "worst/02-a.png"]


def test_two_files_are_a_pair_whatever_their_names(tmp_path):
    write(tmp_path, mine=labels(), theirs=labels())
    summary = evaluate(tmp_path / "mine.nii.gz", tmp_path / "theirs.nii.gz", tmp_path / "output")
    assert list(summary.scores) == ["theirs"]


def plain(path, array):
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(array, GRID.affine), path)


def test_without_names_every_label_found_is_scored(tmp_path):
    plain(tmp_path / "truth" / "a.nii.gz", labels())
    plain(tmp_path / "truth" / "b.nii.gz", labels(without=(2,)))
    for name in "ab":
        plain(tmp_path / "predictions" / f"{name}.nii.gz", labels(without=(2,)))
    summary = evaluate(tmp_path / "predictions", tmp_path / "truth", tmp_path / "output")
    assert [(label.label, label.name) for label in summary.labels] == [(1, "label 1"), (2, "label 2")]
    assert math.isnan(summary.scores["b"][2].dice)  # in neither map, but in case a
    assert summary.labels[1].predictions["dice"].n == 1
    row = read_csv(tmp_path / "output" / "scores.csv")[-1]
    assert (row["case"], row["label"], row["dice"], row["hd95_mm"]) == ("b", "2", "", "")


def test_only_named_labels_are_scored_and_the_others_reported(folders, tmp_path):
    path = tmp_path / "names.json"
    path.write_text('{"1": "mine"}')
    for names in (path, {1: "mine"}):
        summary = evaluate(*folders, names=names)
        assert [label.name for label in summary.labels] == ["mine"]
        assert summary.unnamed == {2: 3}


def test_another_method_is_compared_case_by_case(folders, tmp_path):
    predictions, truth, output = folders
    other = write(tmp_path / "other", a=labels(3), b=labels(3), c=labels(without=(2,)))
    summary = evaluate(predictions, truth, output, against=other)
    front, back = summary.labels
    pair = front.paired["dice"]
    assert (pair.n, pair.n_left_out) == (3, 0)
    expected = np.mean([1 - 0.5, 5 / 6 - 0.5, 4 / 6 - 1.0])
    assert pair.interval.mean == pytest.approx(expected, abs=1e-6)
    assert pair.interval.low < pair.interval.mean < pair.interval.high
    assert (back.paired["hd95_mm"].n, back.paired["hd95_mm"].n_left_out) == (2, 1)
    assert front.against["dice"].n == 3
    rows = read_csv(output / "paired.csv")
    assert len(rows) == 6
    assert [float(rows[0][f"dice{what}"]) for what in ("", "_against", "_difference")] == [1.0, 0.5, 0.5]
    assert rows[5]["hd95_mm_against"] == "inf"


def test_a_case_that_the_other_method_lacks_is_reported(folders, tmp_path):
    predictions, truth, output = folders
    other = write(tmp_path / "other", a=labels(), b=labels())
    summary = evaluate(predictions, truth, output, against=other)
    assert [(found.case, found.source) for found in summary.failures] == [("c", "against")]
    assert summary.labels[0].paired["dice"].n == 2
    assert summary.exit_code == ExitCode.SOME_FAILED


def test_groups_are_drawn_whole(folders, tmp_path):
    predictions, truth, output = folders
    other = write(tmp_path / "other", a=labels(), b=labels(), c=labels())
    groups = tmp_path / "groups.csv"
    groups.write_text("case,group\na,scan\nb,scan\nc,scan\n")
    summary = evaluate(predictions, truth, output, against=other, groups=groups)
    assert math.isnan(summary.labels[0].paired["dice"].interval.low)  # one group has no spread
    assert {row["group"] for row in read_csv(output / "paired.csv")} == {"scan"}
    groups.write_text("case,group\na,scan\n")
    with pytest.raises(UsageError, match="none for 2 of them, such as 'b'"):
        evaluate(predictions, truth, output, groups=groups)
    groups.write_text("id,scan\na,1\n")
    with pytest.raises(UsageError, match="columns 'case' and 'group'"):
        evaluate(predictions, truth, output, groups=groups)


def test_a_second_evaluation_replaces_the_first(folders, tmp_path):
    predictions, truth, output = folders
    evaluate(predictions, truth, output, against=predictions)
    (output / "notes.txt").write_text("mine")
    write(predictions, a=labels(4))
    evaluate(predictions, truth, output, worst=1)
    left = sorted(path.relative_to(output).as_posix() for path in output.rglob("*.*"))
    assert left == ["notes.txt", "scores.csv", "summary.json", "worst/01-a.png"]


def test_a_foreign_summary_cannot_point_out_of_the_folder(folders, tmp_path):
    output = folders[2]
    output.mkdir()
    precious = tmp_path / "precious.txt"
    precious.write_text("kept")
    (output / "summary.json").write_text(json.dumps({"files": ["../precious.txt", str(precious)]}))
    evaluate(*folders)
    assert precious.read_text() == "kept"


@pytest.mark.parametrize("text", ['{"files": ["keep.txt"]}', '{"files": [1]}', "[]", ""])
def test_nothing_but_results_of_an_evaluation_is_removed(folders, text):
    output = folders[2]
    (output / "worst").mkdir(parents=True)
    for name in ("keep.txt", "worst/keep.txt", "worst/01-old.png", "paired.csv"):
        (output / name).write_text("")
    (output / "summary.json").write_text(text)
    evaluate(*folders, worst=1)
    assert sorted(path.relative_to(output).as_posix() for path in output.rglob("*.*")) == [
        *("keep.txt", "scores.csv", "summary.json", "worst/01-c.png", "worst/keep.txt")
    ]


def test_a_picture_that_cannot_be_drawn_costs_no_score(folders, monkeypatch):
    real = evaluation_files._draw

    def sometimes(case, *rest):
        if case.case == "b":
            raise RuntimeError("no\ncanvas")
        return real(case, *rest)

    monkeypatch.setattr(evaluation_files, "_draw", sometimes)
    summary = evaluate(*folders)
    assert [(case.case, case.picture is None) for case in summary.worst] == [
        *(("c", False), ("b", True), ("a", False))
    ]
    assert summary.worst[1].reason == "not drawn: RuntimeError: no canvas"
    record = json.loads((folders[2] / "summary.json").read_text())
    assert record["worst"][1]["reason"] == summary.worst[1].reason
    assert record["files"] == ["scores.csv", "worst/01-c.png", "worst/03-a.png"]
    assert len(read_csv(folders[2] / "scores.csv")) == 6


def test_scores_are_there_before_pictures(folders, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation_files, "_draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(folders[0], folders[1], folders[2], against=folders[0])
    record = json.loads((folders[2] / "summary.json").read_text())
    assert record["files"] == ["scores.csv", "paired.csv"]
    assert all((folders[2] / name).is_file() for name in record["files"])


def test_an_interrupted_evaluation_leaves_no_summary(folders, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation_files, "_scores_csv", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(*folders)
    assert not (folders[2] / "summary.json").exists()


def test_progress_counts_the_references(folders):
    seen = []
    evaluate(*folders, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_calls_that_cannot_run(folders, tmp_path):
    predictions, truth, output = folders
    empty = tmp_path / "empty"
    empty.mkdir()
    strangers = write(tmp_path / "strangers", x=labels())
    file = tmp_path / "file"
    file.write_text("")
    for arguments, message in [
        ((empty, truth, output), "a folder with none"),
        ((predictions, empty, output), "a folder with none"),
        ((tmp_path / "nowhere", truth, output), "nothing there"),
        ((strangers, truth, output), "'a', got none, but 'x'"),
        ((predictions, truth, file), "expected a folder for the results"),
    ]:
        with pytest.raises(UsageError, match=message):
            evaluate(*arguments)
    assert not output.exists()
