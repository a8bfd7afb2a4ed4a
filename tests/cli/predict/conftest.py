"""A bundle, an image, and a way to call ``medkit`` in this process."""

from __future__ import annotations

import pytest

from medkit.cli import main
from tests.phantoms import write_hippocampus
from tests.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def call(capsys):
    """Run ``medkit`` in this process; return exit code, standard output and the lines of standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return stopped.value.code, out, [line for line in err.splitlines() if line.strip()]

    return run


@pytest.fixture
def image(tmp_path):
    write_hippocampus(tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"
