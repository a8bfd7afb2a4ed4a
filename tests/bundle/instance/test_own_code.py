"""A bundle's own code is kept its own, and the program's stays the program's."""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from pathlib import Path

import pytest

from medkit.bundle.instance import own_code
from tests.bundle.instance.configs import inference


def write_scripts(root: Path, answer: str, package: bool = True) -> Path:
    """A bundle with `scripts/`: one module that imports another at once, and one when it is called."""
    (root / "scripts").mkdir(parents=True)
    (root / "configs").mkdir()
    if package:
        (root / "scripts" / "__init__.py").touch()
    (root / "scripts" / "helper.py").write_text(f"ANSWER = {answer!r}\nclass Mark: pass\n")
    (root / "scripts" / "late.py").write_text(f"ANSWER = 'late ' + {answer!r}\n")
    (root / "scripts" / "main.py").write_text(
        "from scripts.helper import ANSWER, Mark\n"
        "class Part:\n"
        "    def __init__(self, size=0): self.mark = Mark()\n"
        "    def now(self): return ANSWER\n"
        "    def later(self):\n"
        "        from scripts import late\n"
        "        return late.ANSWER\n"
        "    def same(self):\n"
        "        from scripts.helper import Mark\n"
        "        return isinstance(self.mark, Mark)\n"
    )
    (root / "configs" / "metadata.json").write_text("{}")
    config = {
        "imports": ["$from scripts.helper import ANSWER as answer"],
        "bundle_root": ".",
        "part": {"_target_": "scripts.main.Part"},
        "answer": "$answer",
    }
    (root / "configs" / "inference.json").write_text(json.dumps(config))
    return root


@pytest.mark.parametrize("packages", [(True, True), (False, False), (True, False), (False, True)])
def test_two_bundles_with_scripts_each_run_their_own(tmp_path, packages):
    roots = [
        write_scripts(tmp_path / name, name, package) for name, package in zip("ab", packages, strict=True)
    ]
    instances = [inference(root) for root in roots]
    parts = [instance.build("part") for instance in instances]
    assert [part.now() for part in parts] == ["a", "b"]
    assert [instance.build("answer") for instance in instances] == ["a", "b"]
    # What is imported only when the part runs, in any order and more than once.
    for name, root, part in [*zip("ab", roots, parts, strict=True), ("a", roots[0], parts[0])]:
        with own_code(root):
            assert part.later() == f"late {name}"
            assert part.same()


def test_a_program_keeps_its_own_scripts(tmp_path, monkeypatch):
    program = write_scripts(tmp_path / "program", "program")
    monkeypatch.syspath_prepend(str(program))
    import scripts.helper  # the program's

    before = scripts.helper
    try:
        bundle = write_scripts(tmp_path / "bundle", "bundle")
        part = inference(bundle).build("part")
        assert part.now() == "bundle"
        with own_code(bundle):
            assert part.later() == "late bundle"
        from scripts import helper, late

        assert helper is before
        assert late.ANSWER == "late program"
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
            del sys.modules[name]


def test_what_the_program_imported_from_the_folder_stays(tmp_path, monkeypatch):
    root = write_scripts(tmp_path / "bundle", "a")
    (root / "single.py").write_text("class Part: pass\n")
    with own_code(root):
        import single as put_away
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.syspath_prepend(str(tmp_path))  # so that the bundle is not first already
    try:
        import single

        with own_code(root):
            import single as inside
        assert put_away is not single is inside is sys.modules["single"]
        pickle.dumps(single.Part())
    finally:
        del sys.modules["single"]


def test_a_module_is_imported_once(tmp_path):
    root = write_scripts(tmp_path / "bundle", "a")
    (root / "single.py").write_text("COUNT = []\n")
    with own_code(root):
        import single

        single.COUNT.append(1)
    assert "single" not in sys.modules
    with own_code(root):
        import single as again
    assert again.COUNT == [1]


def test_it_may_be_entered_again_inside(tmp_path):
    root, other = write_scripts(tmp_path / "a", "a"), write_scripts(tmp_path / "b", "b")
    with own_code(root):
        import scripts.helper as outer

        with own_code(root):
            import scripts.helper as inner
        assert inner is outer
        with own_code(other):
            import scripts.helper as foreign
        assert foreign.ANSWER == "b"
        import scripts.helper as still

        assert still is outer


def test_code_is_put_away_after_an_error_too(tmp_path):
    root = write_scripts(tmp_path / "bundle", "a")
    (root / "scripts" / "broken.py").write_text("import scripts.helper\n1 / 0\n")
    with pytest.raises(ZeroDivisionError), own_code(root):
        importlib.import_module("scripts.broken")
    assert "scripts" not in sys.modules


def test_packages_of_an_environment_inside_the_bundle_stay_imported(tmp_path, monkeypatch):
    """As with a `.venv` in the folder that is predicted from: torch must not be forgotten after each step."""
    root = write_scripts(tmp_path / "bundle", "a")
    site = root / ".venv" / "lib"
    site.mkdir(parents=True)
    (site / "installed_there.py").touch()
    monkeypatch.syspath_prepend(str(site))
    with own_code(root):
        import installed_there
    assert sys.modules["installed_there"] is installed_there
    del sys.modules["installed_there"]


def test_medkit_itself_is_never_put_away(tmp_path, monkeypatch):
    import medkit.errors

    monkeypatch.syspath_prepend(str(tmp_path))  # so that the source tree is not first already
    before = dict(sys.modules)
    with own_code(Path(medkit.__file__).parents[1]):
        pass
    assert sys.modules["medkit.errors"] is medkit.errors
    assert sys.modules == before
