"""Building: committed text is what `configs/` gives, byte for byte, and stands on its own anywhere."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from medkit.bundle import store
from medkit.bundle.build import bundle_sources, bundle_text, sources_root, write_bundle
from medkit.bundle.checks.parts import walk
from medkit.bundle.fragments import read_fragment
from medkit.bundle.store import BundleFolder, bundles_root, list_bundles
from medkit.errors import UsageError

REPOSITORY = Path(__file__).parents[2]
SOURCES = bundle_sources()
every_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


@pytest.fixture
def sources(tmp_path):
    """A copy of all sources, to change."""
    return Path(shutil.copytree(REPOSITORY / "configs", tmp_path / "configs"))


def test_every_source_has_its_bundle_and_every_bundle_its_source():
    assert SOURCES
    assert [source.name for source in SOURCES] == [bundle.name for bundle in list_bundles()]


@every_source
def test_the_committed_text_is_what_the_sources_give(source):
    text = bundle_text(source)
    for name, content in text.items():
        assert (bundles_root() / source.name / name).read_bytes() == content.encode(), (
            f"{name}: medkit bundle build"
        )
    configs = {f"configs/{path.name}" for path in (bundles_root() / source.name / "configs").iterdir()}
    assert configs <= text.keys()


@every_source
def test_the_text_does_not_depend_on_where_the_sources_lie(source, sources, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert bundle_text(sources / source.name) == bundle_text(source)


@every_source
def test_a_bundle_stands_on_its_own(source):
    """Nothing in it needs its sources, another file, the current folder's neighbours or this machine."""
    for name, content in bundle_text(source).items():
        assert str(REPOSITORY) not in content
        assert not re.search(r"(^|[\"' ])/(home|root|work|Users|mnt|workspace)/", content)
        if name.endswith(".json") and name != "configs/metadata.json":
            config = json.loads(content)
            assert "extends" not in config
            assert config["bundle_root"] == "."
            assert [node for _, node in walk(config) if isinstance(node, str) and node.startswith("%")] == []


@every_source
def test_a_bundle_that_was_copied_away_is_parsed_there(source, tmp_path, monkeypatch):
    from monai.bundle import ConfigParser

    root = Path(shutil.copytree(bundles_root() / source.name, tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path)
    kinds = ["inference", "train"] if (source / "train.yaml").is_file() else ["inference"]
    for kind in kinds:
        parser = ConfigParser()
        parser.read_config(str(root / "configs" / f"{kind}.json"))
        parser.read_meta(str(root / "configs" / "metadata.json"))
        parser["bundle_root"] = str(root)
        network = parser.get_parsed_content("network_def")
        assert sum(parameter.numel() for parameter in network.parameters()) > 0
    parser.read_config(str(root / "configs" / "inference.json"))
    parser["bundle_root"] = str(root)
    assert parser.get_parsed_content("checkpointloader::load_path") == str(root / "models" / "model.pt")


def test_writing_touches_only_what_changed(sources, tmp_path):
    source, root = next(iter(bundle_sources(sources))), tmp_path / "bundles"
    written = write_bundle(source, root)
    assert {path.relative_to(root / source.name).as_posix() for path in written} == set(bundle_text(source))
    assert write_bundle(source, root) == []
    train = root / source.name / "configs" / "train.json"
    train.write_text(train.read_text().replace("\n", "\r\n"), newline="")
    assert write_bundle(source, root) == [train]
    (source.parent / "shared" / "logging.conf").write_text("[loggers]\nkeys=root # grün\n", encoding="utf-8")
    assert [path.name for path in write_bundle(source, root)] == ["logging.conf"]
    assert "grün" in (root / source.name / "configs" / "logging.conf").read_text(encoding="utf-8")


def test_a_yaml_with_a_trainer_is_one_more_training_and_others_are_parts(sources, tmp_path):
    source = sources / "hippocampus_segmentation_unet"
    (source / "fine_tuning.yaml").write_text("extends: train.yaml\nepochs: 7\n")
    (source / "settings.yaml").write_text("train: {epochs: 7}\n")
    write_bundle(source, tmp_path / "bundles")
    bundle = BundleFolder(tmp_path / "bundles" / source.name)
    assert bundle.training_configs == ["train", "fine_tuning"]
    more, train = (json.loads(bundle.config_path(kind).read_text()) for kind in ("fine_tuning", "train"))
    assert more["epochs"] == 7
    assert {**train, "epochs": 7} == more
    assert not (bundle.configs / "settings.json").exists()
    assert not (bundle.configs / "network.json").exists()


@every_source
def test_a_bundle_that_no_run_was_adopted_for_says_so(source, sources):
    for name in ("record.json", "evaluation.json"):
        (sources / source.name / name).unlink(missing_ok=True)
    assert "not measured yet" in bundle_text(sources / source.name)["docs/README.md"].lower()


def test_weights_stay_when_the_text_is_written(sources, tmp_path):
    source, root = next(iter(bundle_sources(sources))), tmp_path / "bundles"
    weights = root / source.name / "models" / "model.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    write_bundle(source, root)
    assert weights.read_bytes() == b"weights"


@pytest.mark.parametrize("name", ["inference.yaml", "train.yaml"])
def test_a_missing_fragment_is_told(sources, name):
    source = next(iter(bundle_sources(sources)))
    (source / name).unlink()
    with pytest.raises(UsageError, match=f"{name}: no such file"):
        bundle_text(source)


@pytest.mark.parametrize("name", ["logging.conf", "licences/{licence}.txt"])
def test_a_missing_shared_file_is_told(sources, name):
    source = next(iter(bundle_sources(sources)))
    licence = read_fragment(source / "metadata.yaml")["licence_file"]
    path = sources / "shared" / name.format(licence=licence)
    path.unlink()
    with pytest.raises(UsageError, match=f"{re.escape(str(path))}: no such file"):
        bundle_text(source)


@pytest.mark.parametrize("key", ["versions", "version", "licence_file"])
def test_metadata_that_lack_a_key_are_told(sources, key):
    source = next(iter(bundle_sources(sources)))
    for path in sources.rglob("metadata.yaml"):
        path.write_text(re.sub(f"^{key}:", f"no_{key}:", path.read_text(), flags=re.MULTILINE))
    with pytest.raises(UsageError, match=f"lacks the key '{key}'"):
        bundle_text(source)


@pytest.mark.parametrize(
    ("content", "words"), [("{", "not valid JSON"), ('{"training": {}}', "'cross_validation'")]
)
def test_a_record_that_does_not_serve_is_told(sources, content, words):
    source = sources / "hippocampus_segmentation_unet"  # which a cross-validation scores
    (source / "record.json").write_text(content)
    with pytest.raises(UsageError, match=words):
        bundle_text(source)


def test_an_installed_wheel_has_no_sources(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_PACKAGE", tmp_path / "site-packages" / "medkit")
    with pytest.raises(UsageError, match="configs/ is not here"):
        sources_root()
