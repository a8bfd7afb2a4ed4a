"""The floors: imports point down only, one place prints, and every folder says what belongs in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "medkit"

# From the top down. Packages on one floor may use each other, but not in a circle.
FLOORS = (
    {"cli", "__main__"},
    {"batch", "report"},
    {"inference", "training", "medkit"},
    {"bundle", "dicom"},
    {"data", "transforms", "losses", "metrics", "figures"},
    {"networks", "diffusion"},
    {"ops"},
    {"allocator", "errors", "ownership", "__version__"},
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
# "medkit" is the package itself, which imports `medkit.inference` when a bundle is loaded.
SELF = "medkit"
# The same within `batch`, where those on one floor do not know each other.
BATCH_FLOORS = (
    {"service"},
    {"status", "replay_tables"},
    {"intake", "delivery", "cluster", "replay"},
    {"making"},
    {"spool", "rules_file"},
    {"ledger", "audit", "marks"},
    {
        "durable", "failures", "folder", "hours", "identity", "logs", "memory_limit", "notices", "rules",
        "yaml_faults",
    },
)  # fmt: skip
BATCH = "medkit.batch."
BATCH_FLOOR = {BATCH + name: number for number, names in enumerate(BATCH_FLOORS) for name in names}
# "importer -> imported" of an import that points up only for a type, with the reason. None so far.
UPWARD_FOR_TYPES: dict[str, str] = {}
# Distributions that only one package may know.
ONLY_IN = {
    "click": "cli",
    "rich": "cli",
    "mlflow": "training",
    "pytorch_lightning": "training",
    "pydicom": "dicom",
    "highdicom": "dicom",
    "pynetdicom": "dicom",
    "dicomweb_client": "dicom",
    "requests": "dicom",
    "triton": "ops",
    "prometheus_client": "batch",
    "distributed": "batch",
}
FOLDERS_OF_DATA = {"schemas"}
# What `import_module` is given, whole or as the beginning of an f-string.
_DOTTED = re.compile(r"medkit(\.\w+)+\.?$")


def modules(package: Path) -> dict[str, ast.Module]:
    """Every module below a package's folder, by dotted name; a folder goes by its ``__init__``."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = (SELF, *path.relative_to(package).with_suffix("").parts)
        name = ".".join(parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    assert found, f"no module below {package}: this test has lost its subject"
    return found


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all that is imported: inside functions, for types alone, and by a name in a string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import; write the whole name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and _DOTTED.match(name := str(node.value)):
            # Of names in strings only those of a floor: "medkit.toml" would be a file.
            yield from [name.rstrip(".")] if place(name) in FLOOR else []


def place(name: str) -> str:
    """The first name below ``medkit``: a package, a module, or ``medkit`` itself."""
    return name.split(".")[1] if "." in name else SELF


def edges(package: Path) -> Iterator[tuple[str, str]]:
    """Importing module and imported name, both in medkit, where they lie in different places."""
    for importer, tree in modules(package).items():
        for imported in imports(tree):
            inside = imported == SELF or imported.startswith(f"{SELF}.")
            if inside and place(importer) != place(imported) and place(imported) in FLOOR:
                yield importer, imported
            elif inside and place(imported) not in FLOOR:
                # `from medkit import load`: a name of the package itself.
                yield importer, SELF


def upward(package: Path) -> list[str]:
    """Imports that point up."""
    return [
        line
        for importer, imported in edges(package)
        if FLOOR[place(importer)] > FLOOR[place(imported)]
        # What the package itself offers leads up to inference, by a lazy import in a function.
        and (place(importer), place(imported)) != (SELF, "inference")
        and (line := f"{importer} -> {imported}") not in UPWARD_FOR_TYPES
    ]


def not_down_in_batch(package: Path) -> list[str]:
    """Imports within ``batch`` that do not point down."""
    return [
        f"{importer} -> {imported}"
        for importer, tree in modules(package).items()
        for imported in imports(tree)
        if importer.startswith(BATCH) and imported.startswith(BATCH)
        if (above := _in_batch(importer)) != (below := _in_batch(imported))
        and BATCH_FLOOR.get(above, 0) >= BATCH_FLOOR.get(below, 0)
    ]


def _in_batch(name: str) -> str:
    return ".".join(name.split(".")[:3])


def unplaced_in_batch(package: Path) -> list[str]:
    """What lies in ``batch``, but on no floor of it."""
    found = {_in_batch(name) for name in modules(package) if name.startswith(BATCH)}
    assert found, f"nothing in the batch of {package}: this test has lost its subject"
    return sorted(found ^ BATCH_FLOOR.keys())


def circles(package: Path) -> list[str]:
    """Pairs of places on one floor that reach each other."""
    below: dict[str, set[str]] = {}
    for importer, imported in edges(package):
        below.setdefault(place(importer), set()).add(place(imported))
    reached = {name: _reached(name, below) for name in below}
    return [
        f"{one} <-> {other}"
        for one in sorted(reached)
        for other in sorted(reached[one])
        if one < other and one in reached.get(other, ()) and SELF not in (one, other)
    ]


def _reached(start: str, below: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        found = below.get(ahead.pop(), set()) - seen
        seen |= found
        ahead += found
    return seen


def strangers(package: Path) -> list[str]:
    """Imports of a distribution outside the one package that may know it."""
    return [
        f"{importer} -> {imported}"
        for importer, tree in modules(package).items()
        for imported in imports(tree)
        if (owner := ONLY_IN.get(imported.split(".")[0])) and place(importer) != owner
    ]


def prints(package: Path) -> list[str]:
    """Calls of ``print`` outside the command line."""
    return [
        f"{name}:{node.lineno}"
        for name, tree in modules(package).items()
        if place(name) != "cli"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "builtins.print")
    ]


def without_purpose(package: Path) -> list[str]:
    """Folders whose ``__init__`` does not say, in two sentences at least, what belongs there."""
    found = modules(package)
    folders = {path.parent for path in package.rglob("*.py")}
    names = (".".join((SELF, *folder.relative_to(package).parts)) for folder in sorted(folders))
    return [name for name in names if _sentences(found.get(name)) < 2]


def _sentences(tree: ast.Module | None) -> int:
    text = (ast.get_docstring(tree) if tree else None) or ""
    return sum(text.count(end) for end in (". ", ".\n")) + text.endswith(".")


def unplaced(package: Path) -> list[str]:
    """What lies below the package, but on no floor."""
    found = {path.stem for path in package.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert found, f"nothing in {package}: this test has lost its subject"
    return sorted(found - set(FLOOR) - FOLDERS_OF_DATA - {"__init__", "__pycache__", "_bundles"})


RULES = {
    "no import points up": upward,
    "every import within the batch points down": not_down_in_batch,
    "no circle on a floor": circles,
    "each distribution has one owner": strangers,
    "only the command line prints": prints,
    "every folder says what belongs there": without_purpose,
    "everything lies on a floor": unplaced,
    "everything in the batch lies on one of its floors": unplaced_in_batch,
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_house_keeps_its_rules(rule):
    assert rule(ROOT) == []


def test_no_module_is_a_drawer_for_odds_and_ends():
    drawers = {"utils", "util", "helpers", "misc", "common"}
    assert [name for name in modules(ROOT) if drawers & set(name.split("."))] == []


def test_exceptions_are_still_needed():
    found = {f"{importer} -> {imported}" for importer, imported in edges(ROOT)}
    assert set(UPWARD_FOR_TYPES) <= found
    assert all(UPWARD_FOR_TYPES.values()), "an exception has a reason"


def test_the_whole_package_is_looked_at():
    found = modules(ROOT)
    assert {"medkit", "medkit.cli", "medkit.data.reading", "medkit.bundle.checks.parts"} <= found.keys()
    assert len(list(edges(ROOT))) > 100
    assert ("medkit", "medkit.inference.loading.load_bundle") in edges(ROOT), "lazy imports count"
    assert ("medkit", "medkit.inference.predictor.LoadedBundle") in edges(ROOT), "those for types count"


PURPOSE = '"""What it is. What it is not."""\n'


def house(folder: Path, /, **contents: str) -> Path:
    """A package ``medkit`` with a module ``a`` in each of the folders named."""
    (folder / "__init__.py").write_text(PURPOSE)
    for name, content in contents.items():
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(PURPOSE)
        (folder / name / "a.py").write_text(content)
    return folder


@pytest.mark.parametrize(
    "line",
    [
        "import medkit.inference.predictor",
        "import medkit.inference.predictor as p",
        "from medkit.inference.loading import load_bundle",
        "from medkit.inference import predictor",
        "from medkit import inference",
        "def f():\n    from medkit.inference import predictor",
        "if TYPE_CHECKING:\n    from medkit.inference.predictor import LoadedBundle",
        "try:\n    pass\nexcept ImportError:\n    import medkit.inference",
        "import_module('medkit.inference.predictor')",
        "importlib.import_module(f'medkit.inference.{name}')",
        "_NETWORKS = {'unet': 'medkit.inference.unet.UNet'}",
        "import medkit",
        "from medkit import load",
    ],
)
def test_an_import_that_points_up_is_found(tmp_path, line):
    (found,) = upward(house(tmp_path, data=line))
    assert found.startswith("medkit.data.a -> medkit")


@pytest.mark.parametrize(
    "line",
    [
        "from medkit.data import read_volume",
        "from medkit.training import run",
        "from medkit.errors import UsageError",
        "from medkit import __version__",
        "import medkit",
        "import numpy as np\nimport medkit_tools",
    ],
)
def test_an_import_that_points_down_or_aside_passes(tmp_path, line):
    assert upward(house(tmp_path, inference=line)) == []


def test_a_string_that_is_no_module_passes(tmp_path):
    strings = ["medkit", "medkit-imaging", "medkit.toml", "see medkit.cli", "https://medkit.cli.org"]
    assert upward(house(tmp_path, data=f"x = {strings}")) == []


def test_only_the_package_itself_may_reach_up_to_inference(tmp_path):
    package = house(tmp_path)
    (package / "__init__.py").write_text("def load():\n    from medkit.inference.predictor import x")
    assert upward(package) == []
    (package / "__init__.py").write_text("def main():\n    from medkit.cli import main")
    assert upward(package) == ["medkit -> medkit.cli.main"]


def test_a_relative_import_is_refused(tmp_path):
    with pytest.raises(AssertionError, match="relative import"):
        upward(house(tmp_path, data="from ..inference import predictor"))


@pytest.mark.parametrize(
    ("importer", "line"),
    [
        ("intake", "from medkit.batch.service.a import x"),
        ("intake", "if TYPE_CHECKING:\n    from medkit.batch.status import a"),
        ("delivery", "def f():\n    import medkit.batch.intake.a"),
        ("ledger", "from medkit.batch import spool"),
        ("ledger", "from medkit.batch.marks import Mark"),
    ],
)
def test_an_import_within_the_batch_that_does_not_point_down_is_found(tmp_path, importer, line):
    (tmp_path / "batch").mkdir()
    house(tmp_path / "batch", **{importer: line})
    (found,) = not_down_in_batch(tmp_path)
    assert found.startswith(f"medkit.batch.{importer}.a -> medkit.batch.")


@pytest.mark.parametrize("importer", ["service", "intake", "ledger"])
def test_an_import_within_the_batch_that_points_down_passes(tmp_path, importer):
    (tmp_path / "batch").mkdir()
    lines = f"from medkit.batch.durable import sync_folder\nfrom medkit.batch.{importer} import b\nimport medkit.cli"
    house(tmp_path / "batch", **{importer: lines})
    assert not_down_in_batch(tmp_path) == []


def test_a_circle_is_found(tmp_path):
    package = house(
        tmp_path,
        data="from medkit.figures import a",
        figures="from medkit.metrics import a",
        metrics="from medkit.data import a",
    )
    assert upward(package) == []
    assert circles(package) == ["data <-> figures", "data <-> metrics", "figures <-> metrics"]


def test_a_stranger_is_found(tmp_path):
    package = house(tmp_path, bundle="def f():\n    import mlflow.tracking", training="import mlflow")
    assert strangers(package) == ["medkit.bundle.a -> mlflow.tracking"]


def test_a_print_is_found(tmp_path):
    package = house(tmp_path, data="def f():\n    print('x')", cli="print('x')", ops="pprint('x')")
    assert prints(package) == ["medkit.data.a:2"]


@pytest.mark.parametrize("content", [None, "", "x = 1", '"""Readers."""'])
def test_a_folder_without_a_purpose_is_found(tmp_path, content):
    package = house(tmp_path, data="", ops="")
    initial = package / "data" / "__init__.py"
    initial.unlink() if content is None else initial.write_text(content)
    assert without_purpose(package) == ["medkit.data"]


def test_what_lies_on_no_floor_is_found(tmp_path):
    package = house(tmp_path, data="", attic="")
    (package / "cellar.py").write_text("")
    assert unplaced(package) == ["attic", "cellar"]
    (package / "batch").mkdir()
    house(package / "batch", attic="", **{name.removeprefix(BATCH): "" for name in BATCH_FLOOR})
    assert unplaced_in_batch(package) == ["medkit.batch.attic"]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_an_empty_house_fails(tmp_path, rule):
    with pytest.raises(AssertionError, match="lost its subject"):
        rule(tmp_path)
