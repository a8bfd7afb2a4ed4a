from pathlib import Path

from medkit.bundle.copying import copy_without_weights
from medkit.bundle.store import BundleFolder


def test_weights_and_runs_at_the_root_are_left_behind_and_nothing_else(tmp_path: Path):
    kept = ["configs/metadata.json", "scripts/models/net.py", "docs/runs/README.md"]
    left = ["models/model.pt", "runs/one/record.json", "scripts/__pycache__/net.pyc"]
    for name in kept + left:
        path = tmp_path / "bundle" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    copy_without_weights(BundleFolder(tmp_path / "bundle"), tmp_path / "copy" / "bundle")
    copied = [path.relative_to(tmp_path / "copy/bundle") for path in (tmp_path / "copy").rglob("*")]
    assert sorted(path.as_posix() for path in copied if path.suffix) == sorted(kept)
