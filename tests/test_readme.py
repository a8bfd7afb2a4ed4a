"""What the README and the contributor's guide show works as it stands there."""

from __future__ import annotations

import re
import shlex
from itertools import chain
from pathlib import Path

import click
import pytest
import torch

from medkit.bundle.instance import ConfigInstance
from medkit.bundle.overrides import parse_overrides
from medkit.bundle.store import find_bundle
from medkit.cli import cli
from tests.phantoms import write_hippocampus

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    str(page.relative_to(ROOT))
    for folder in (".", "docs", "docker", "benchmarks", "bundles/*/docs")
    for page in ROOT.glob(f"{folder}/*.md")
)


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [content for kind, content in fenced if kind == language]


def spans(page: str) -> list[str]:
    """Code in the page's running text; one may go over the end of a line."""
    text = (ROOT / page).read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]


def commands(page: str) -> list[str]:
    """Lines of the page's blocks that call medkit, with a prompt or without, and such calls in running text."""
    lines = [
        line.removeprefix("$ ")
        for language in ("", "bash", "text")
        for block in blocks(page, language)
        for line in block.splitlines()
    ]
    return [line.split("#")[0].strip() for line in [*lines, *spans(page)] if line.startswith("medkit ")]


def test_few_lines_of_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_hippocampus(tmp_path / "scan.nii.gz")
    doubt, example, *_ = blocks("README.md", "python")
    exec(compile(example, "README.md", "exec"), {})
    assert (tmp_path / "results" / "labels" / "scan.nii.gz").is_file()
    made = {}
    exec(compile(doubt, "README.md", "exec"), made)
    assert made["result"].uncertainty.entropy.shape == made["result"].labels.shape


def test_brains_of_any_contrast():
    _, _, example, _ = blocks("README.md", "python")
    made = {}
    exec(compile(example, "README.md", "exec"), made)
    assert made["made"].image.shape == (2, 1, 48, 48, 48)
    assert {2, 41} <= set(made["made"].labels.unique().tolist())
    assert made["again"].image.equal(made["made"].image)


def test_the_parts():
    *_, example = blocks("README.md", "python")
    made = {}
    exec(compile(example, "README.md", "exec"), made)
    assert made["logits"].shape == (1, 3, 37, 50, 41)
    assert made["y"].shape == made["u"].shape
    assert made["haar_idwt"](made["bands"], size=(31, 33, 27)).shape == (1, 1, 31, 33, 27)


def test_another_network_for_a_training():
    (line,) = [line for line in commands("README.md") if "network_def={" in line]
    words = shlex.split(line)
    overrides = parse_overrides(words[words.index("--set") + 1 :])
    network = ConfigInstance(find_bundle(words[2]), "train", overrides).build("network_def")
    assert network(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 3, 16, 16, 16)


def test_commands_have_the_options_that_the_pages_show():
    shown = {page: commands(page) for page in PAGES}
    assert {"README.md", "docs/batch.md", "docs/dicom.md", "docker/README.md"} <= {*filter(shown.get, shown)}
    for line in chain.from_iterable(shown.values()):
        check(line)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    path = ROOT / page
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (path.parent / target).exists()]
    assert not missing


def test_every_bundle_that_is_scored_has_its_tables():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[`(\w+)`\]\(bundles/(.*)$", text, re.MULTILINE))
    scripts = {name: find_bundle(name).metadata.get("scored_by") for name in rows}
    scored = [name for name, script in scripts.items() if script is None]
    for name, script in scripts.items():
        assert script is None or (f"`{script}`" in rows[name] and (ROOT / script).is_file())
    tables = (ROOT / "benchmarks" / "cross_validation.md").read_text(encoding="utf-8")
    assert scored == re.findall(r"^## (\w+)$", tables, re.MULTILINE)
    robustness = (ROOT / "benchmarks" / "hippocampus_robustness.md").read_text(encoding="utf-8")
    assert f"`{scored[0]}`" in robustness


def check(line: str) -> None:
    words = shlex.split(line)[1:]
    group: click.Command = cli
    while isinstance(group, click.Group) and words and not words[0].startswith("-"):
        context = click.Context(group)
        command = group.get_command(context, words[0])
        assert command is not None, line
        group, words = command, words[1:]
    known = {option for parameter in group.params for option in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "--version"}
    for word in words:
        if word.startswith("-"):
            assert word.partition("=")[0] in known, f"{line}: no option {word}; there are {sorted(known)}"
