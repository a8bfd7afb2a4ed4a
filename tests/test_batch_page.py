"""The page on batches shows what works: its rules choose, its messages are medkit's, its example runs."""

from __future__ import annotations

import ast

from medkit.batch.rules import FACTS, choose
from medkit.batch.rules_file import check_rules, read_rules
from medkit.batch.spool import Spool
from tests.batch.intake.door import write_study
from tests.batch.test_rules import facts
from tests.test_readme import ROOT, blocks

PAGE = "docs/batch.md"


def rules_of_the_page(folder):
    (text,) = blocks(PAGE, "yaml")
    path = folder / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_rules_choose_what_they_say(tmp_path):
    rules = read_rules(rules_of_the_page(tmp_path))
    t1 = facts("003", series_description="T1 MPRAGE sag")
    assert [job.bundle for job in choose(rules, [t1]).jobs] == ["hippocampus_segmentation_unet"]
    tumour = [
        facts("004", series_description="t2 FLAIR"),
        facts("005", series_description="T1 TSE", contrast_agent=True),
    ]
    (job,) = choose(rules, tumour).jobs
    assert (job.bundle, dict(job.inputs)) == ("glioma_segmentation_agunet", {"flair": "004", "t1ce": "005"})
    assert choose(rules, [facts(modality="CT")]).jobs == ()
    assert t1.keys() == set(FACTS)


def test_a_fault_is_told_as_the_page_shows(tmp_path):
    path = rules_of_the_page(tmp_path)
    text = path.read_text(encoding="utf-8")
    assert "{min: 0.5," in text
    path.write_text(text.replace("{min: 0.5,", "{min: thin,"), encoding="utf-8")
    (fault,) = check_rules(path)
    assert fault.removeprefix(f"{tmp_path}/") in blocks(PAGE, "text")[1]


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example, _ = blocks(PAGE, "python")
    made = {}
    exec(compile(example, PAGE, "exec"), made)
    assert len(made["spool"].instances(made["study"])) == 1
    assert Spool(tmp_path / "spool").studies() == [made["study"]]


def test_the_example_of_sources_and_destinations_runs(tmp_path, monkeypatch, capsys):
    study = write_study(tmp_path / "incoming")
    broken = study.paths[2]
    broken.write_bytes(broken.read_bytes()[:-40])
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    _, example = blocks(PAGE, "python")
    exec(compile(example, PAGE, "exec"), {})
    assert capsys.readouterr().out.startswith("1 studies; ['IM0002.dcm: expected pixels up to their end")
    assert Spool(tmp_path / "job" / "spool").missing(study.hash)


def test_the_codes_of_deliveries_are_those_that_there_are():
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    folder = ROOT / "medkit" / "batch" / "delivery"
    calls = [
        node
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Trouble"
    ]
    codes = {node.args[0].value for node in calls if isinstance(node.args[0], ast.Constant)}
    assert len(codes) >= 7
    assert {code for code in codes if f"`{code}`" not in page} == {"delivery-fault"}, "a fault of ours"
