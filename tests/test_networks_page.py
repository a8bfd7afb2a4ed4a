"""The page of networks has every network, says of each what it can do, and shows what works."""

from __future__ import annotations

import inspect
import re
from importlib import import_module

import onnxruntime
import pytest

from medkit.networks import create, names
from tests.networks.small_arguments import SMALL
from tests.test_readme import ROOT, blocks

PAGE = "docs/networks.md"
COLUMNS = ("name", "what", "paper", "class", "deep supervision", "without its scan")
LEVELS = {"agunet": "stack", "daunet": "stack", "dynunet": "stack", "mednext": "list"}


def rows() -> dict[str, dict[str, str]]:
    lines = re.findall(r"^\| `(\w+)` \|.*$", (ROOT / PAGE).read_text(encoding="utf-8"), re.MULTILINE)
    text = {
        name: line
        for line in (ROOT / PAGE).read_text(encoding="utf-8").splitlines()
        for name in lines
        if line.startswith(f"| `{name}` |")
    }
    return {
        name: dict(zip(COLUMNS, map(str.strip, line.strip("|").split("|")), strict=True))
        for name, line in text.items()
    }


def test_every_network_has_a_row():
    missing = sorted(set(names()) - rows().keys())
    assert not missing, f"add a row for each of {missing} to the table in {PAGE}"
    assert sorted(rows()) == names()
    assert all(all(row.values()) for row in rows().values())


@pytest.mark.parametrize("name", names())
def test_a_row_says_what_the_class_can_do(name):
    row = rows()[name]
    module, _, cls = row["class"].strip("`").rpartition(".")
    network = getattr(import_module(module), cls)
    made = create(name, spatial_dims=2, in_channels=1, out_channels=2, **SMALL[name])
    assert isinstance(getattr(made, "network", made), network) or isinstance(made, network)
    parameters = inspect.signature(network).parameters
    assert row["without its scan"] == ("yes" if "scan" in parameters else "-")
    assert row["deep supervision"] == (LEVELS[name] if "deep_supervision" in parameters else "-")


@pytest.mark.parametrize("number", range(4))
def test_what_is_shown_works(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = blocks(PAGE, "python")
    assert len(shown) == 4
    made = {}
    exec(compile(shown[number], PAGE, "exec"), made)
    if number == 0:
        assert made["labels"].shape == (1, 37, 50, 41)
    if number == 1:
        assert made["network"](made["torch"].zeros(1, 1, 8, 8, 8)).shape == (1, 4, 8, 8, 8)
    if number == 2:
        assert made["levels"].shape == (2, 2, 3, 32, 40)
    if number == 3:
        session = onnxruntime.InferenceSession("network.onnx", providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {session.get_inputs()[0].name: made["image"].numpy()})
        assert found.shape == (1, 3, 32, 40)
