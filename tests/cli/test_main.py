"""The command line as a whole: start-up, exit codes, one line for each error."""

from __future__ import annotations

import subprocess
import sys

import click
import nibabel as nib
import numpy as np
import pytest

import medkit
from medkit import cli
from medkit.cli import main
from medkit.errors import CaseError, MedkitError, UsageError
from tests.phantoms import nifti, write_hippocampus
from tests.tiny_bundle import make_tiny_bundle

HEAVY = ("torch", "monai", "numpy", "scipy", "nibabel", "SimpleITK", "matplotlib", "rich", "ignite", "mlflow")


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    out, err = capsys.readouterr()
    return stopped.value.code, out, err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["predict", "--help"], 0),
        (["bundle", "list"], 0),
        (["batch", "--help"], 0),
        (["batch", "status", "--help"], 0),
        (["predict", "hippocampus", "x.nii", "-o", "y"], 2),
        (["predict", "hippocampus_segmentation_unet", "x.nii", "-o", "y", "--set", "x"], 2),
    ],
)
def test_answers_at_once(arguments, code):
    script = (
        "import sys\nfrom medkit.cli import main\ntry:\n    main(sys.argv[1:])\n"
        f"except SystemExit as stop:\n    print(stop.code, [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == f"{code} []"


def test_prediction_in_a_fresh_process(tmp_path):
    """It does without the packages of training, and what libraries remark on odd images is not printed.

    What has nothing to do with training is there for whoever calls the command line from a program of their own.
    """
    write_hippocampus(tmp_path / "scan.nii")
    nib.save(nifti((np.arange(8000) == 4000).reshape(20, 20, 20).astype(np.uint8)), tmp_path / "speck.nii")
    header = bytearray((tmp_path / "speck.nii").read_bytes())
    np.ndarray((), nib.nifti1.header_dtype, buffer=header)["pixdim"][1:4] = 0
    (tmp_path / "zero.nii").write_bytes(header)
    images = [str(tmp_path / f"{name}.nii") for name in ("scan", "speck", "zero")]
    arguments = ["predict", str(make_tiny_bundle(tmp_path)), *images, "-o", str(tmp_path / "out")]
    script = (
        "import sys\nfrom medkit.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit as stop:\n"
        "    names = ('mlflow', 'pytorch_lightning')\n"
        "    print(stop.code, [name for name in names if name in sys.modules])\n"
        "import monai.data, pandas\n"
        "rows = monai.data.CSVDataset(pandas.DataFrame({'case': ['a', 'b']}))\n"
        "print([row['case'] for row in rows])\n"
        "import mlflow"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["3 []", "['a', 'b']"]
    printed = [line.split()[0] for line in done.stderr.splitlines() if line.strip()]
    assert printed == ["memory:", "failed", "segmenting"], done.stderr


def test_module_and_script_are_the_same():
    done = subprocess.run(
        [sys.executable, "-m", "medkit", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"medkit, version {medkit.__version__}\n"


def test_help_names_commands_and_exit_codes(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0
    for word in ("predict", "evaluate", "train", "bundle", "130 interrupted", "141 who read"):
        assert word in out
    assert call(capsys, "predict", "-h")[0] == 0


def test_bundles_are_listed(capsys):
    code, out, _ = call(capsys, "bundle", "list")
    assert code == 0
    names = [line.split()[0] for line in out.splitlines()]
    assert "hippocampus_segmentation_unet" in names
    assert "glioma_segmentation_agunet" not in names


def test_bundles_that_are_not_for_commercial_use_are_listed_when_asked_for(capsys):
    code, out, _ = call(capsys, "bundle", "list", "--all")
    assert code == 0
    terms = {line.split()[0]: "not for commercial use" in line for line in out.splitlines()}
    assert terms["glioma_segmentation_agunet"]
    assert not terms["hippocampus_segmentation_unet"]
    assert "CC-BY-NC-SA-4.0" in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nonsense"], "medkit: No such command 'nonsense'. See 'medkit --help'."),
        (["predict"], "medkit: Missing argument 'BUNDLE'. See 'medkit predict --help'."),
        (["predict", "a", "b"], "medkit: Missing option '--output' / '-o'. See 'medkit predict --help'."),
    ],
)
def test_wrong_call_is_one_line(capsys, arguments, line):
    assert call(capsys, *arguments) == (2, "", f"{line}\n")


@pytest.mark.parametrize("arguments", [[], ["bundle"]])
def test_bare_call_shows_the_help(capsys, arguments):
    code, out, err = call(capsys, *arguments)
    assert code in (0, 2)
    assert (out + err).startswith("Usage: medkit")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("a: expected b"), 2, "medkit: a: expected b"),
        (UsageError("a: expected b\nc: expected d"), 2, "medkit: a: expected b\nmedkit: c: expected d"),
        (CaseError("x", "a: expected b"), 4, "medkit: a: expected b"),
        (MedkitError("a: expected b"), 4, "medkit: a: expected b"),
        (OSError(28, "No space left on device", "/out"), 4, "medkit: /out: No space left on device"),
        (BrokenPipeError(32, "Broken pipe"), 4, "medkit: a pipe to another program: Broken pipe"),
        (KeyboardInterrupt(), 130, "medkit: interrupted; every file written so far is whole"),
    ],
)
def test_errors_become_a_line_and_an_exit_code(capsys, monkeypatch, error, code, line):
    @click.command("fails")
    def fails():
        raise error

    monkeypatch.setattr(cli._LazyGroup, "get_command", lambda *_: fails)
    stopped, out, err = call(capsys, "predict")
    assert (stopped, out, err.strip()) == (code, "", line)


def test_fault_of_medkit_itself_keeps_its_traceback(monkeypatch):
    @click.command("fails")
    def fails():
        raise ZeroDivisionError

    monkeypatch.setattr(cli._LazyGroup, "get_command", lambda *_: fails)
    with pytest.raises(ZeroDivisionError):
        main(["predict"])
