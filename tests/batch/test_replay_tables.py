from __future__ import annotations

import csv
import math

import numpy as np
import pytest

from medkit.batch.identity import hash_uid
from medkit.batch.ledger import State
from medkit.batch.making.bundles import BundleShelf
from medkit.batch.making.verdicts import Verdict
from medkit.batch.replay import JobReplayed, Maps, Side, Structure, StudyReplayed
from medkit.batch.replay_tables import ReplayTables
from medkit.data.grid import Grid
from medkit.data.volume import Volume
from medkit.errors import ExitCode, UsageError

SIDES = (Side("one", "1.0", "a" * 64, BundleShelf()), Side("one", "2.0", "b" * 64, BundleShelf()))
REFUSED = Verdict(State.REFUSED, "tilt", "it is tilted")


def maps():
    grid = Grid((8, 8, 8), np.eye(4))
    labels = np.zeros((8, 8, 8), np.uint16)
    labels[2:5, 2:5, 2:5] = 1
    against = np.roll(labels, 1, axis=0)
    image = Volume(np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32), grid, "series 003")
    return Maps(image, labels, against, {1: "part 0", 2: "part 1", 3: "part 2"})


def compared(name, *dices, volume=10.0, against=11.0):
    structures = tuple(
        Structure(f"part {number}", dice, 1.0, volume, against) for number, dice in enumerate(dices)
    )
    job = JobReplayed("rule", "003", (None, None), structures, maps())
    return StudyReplayed(hash_uid(name), None, (job,))


def refused(name, first, second):
    return StudyReplayed(hash_uid(name), None, (JobReplayed("rule", "003", (first, second)),))


@pytest.fixture
def tables(tmp_path):
    return ReplayTables(tmp_path / "out", SIDES, pictures=2)


def test_those_that_agree_least_are_drawn(tables, tmp_path):
    for name, dice in (("1.1", 0.9), ("1.2", 0.5), ("1.3", 1.0), ("1.4", 0.8), ("1.5", 0.2), ("1.6", 0.95)):
        tables.add(compared(name, 1.0, dice))
    expected = [f"{hash_uid(name)[:12]}_003_rule.png" for name in ("1.5", "1.2")]
    assert [path.name for path in tables.pictures] == expected
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(expected)


def test_a_row_a_structure(tables):
    tables.add(compared("1.1", 1.0, 0.5, math.nan))
    tables.add(compared("1.2", 0.8, math.nan, math.nan, volume=20.0, against=19.0))
    first, second = tables.agreement()
    assert (first.structure, first.volumes, first.lowest_study) == ("part 0", 2, hash_uid("1.2"))
    assert (first.mean_dice, first.lowest_dice) == (pytest.approx(0.9), 0.8)
    assert (first.mean_change_ml, first.mean_change_percent) == (0.0, pytest.approx(2.5))
    assert first.largest_change_percent == pytest.approx(10)
    assert (second.structure, second.volumes, second.mean_dice) == ("part 1", 1, 0.5)


def test_what_is_undefined_is_empty_and_what_is_infinite_says_so(tables, tmp_path):
    job = JobReplayed(
        "rule",
        "003",
        (None, None),
        (Structure("a", 0.0, math.inf, 0.0, 2.0), Structure("b", *[math.nan] * 2, 0.0, 0.0)),
    )
    tables.add(StudyReplayed(hash_uid("1.1"), None, (job,)))
    tables.write()
    with (tmp_path / "out" / "differences.csv").open(newline="") as file:
        one, two = csv.DictReader(file)
    assert (one["dice"], one["hd95 (mm)"], one["change (ml)"], one["change (%)"]) == (
        "0.0000",
        "inf",
        "2.0000",
        "",
    )
    assert (two["dice"], two["hd95 (mm)"], two["change (ml)"], two["change (%)"]) == ("", "", "0.0000", "")


@pytest.mark.parametrize(
    ("replayed", "code"),
    [
        ([], ExitCode.NONE_SUCCEEDED),
        ([compared("1", 0.9)], ExitCode.DONE),
        ([compared("1", 0.9), refused("2", REFUSED, REFUSED)], ExitCode.DONE),
        ([compared("1", 0.9), refused("2", REFUSED, None)], ExitCode.SOME_FAILED),
        ([compared("1", 0.9), refused("2", None, REFUSED)], ExitCode.SOME_FAILED),
        (
            [compared("1", 0.9), refused("2", REFUSED, Verdict(State.REFUSED, "gap", ""))],
            ExitCode.SOME_FAILED,
        ),
        ([refused("2", REFUSED, REFUSED)], ExitCode.NONE_SUCCEEDED),
        ([StudyReplayed("1", REFUSED)], ExitCode.NONE_SUCCEEDED),
        ([StudyReplayed("1", Verdict(State.SKIPPED, "no-rule", "")), compared("1", math.nan)], ExitCode.DONE),
    ],
)
def test_how_it_ends(tables, replayed, code):
    for one in replayed:
        tables.add(one)
    assert tables.exit_code() is code
    assert tables.exit_code(0.95) is (
        ExitCode.SOME_FAILED if code is ExitCode.DONE and tables.agreement() else code
    )


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "a.txt").write_text("mine")
    with pytest.raises(UsageError, match="expected an empty folder"):
        ReplayTables(tmp_path, SIDES)
    with pytest.raises(UsageError, match="expected an empty folder"):
        ReplayTables(tmp_path / "a.txt", SIDES)
