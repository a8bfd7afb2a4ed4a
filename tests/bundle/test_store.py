"""Finding bundles: by name, by folder, in the source tree, in a wheel."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from medkit.bundle import store
from medkit.bundle.store import BundleFolder, bundles_root, find_bundle, list_bundles
from medkit.errors import UsageError

BUNDLES = Path(__file__).parents[2] / "bundles"


def write_bundle(root: Path, **metadata) -> Path:
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return root


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A source tree with two bundles."""
    root = tmp_path / "tree"
    (root / "configs").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    for name in ("spleen_segmentation", "liver_segmentation"):
        write_bundle(root / "bundles" / name, version="1.0")
    monkeypatch.setattr(store, "_PACKAGE", root / "medkit")
    return root


def test_the_source_tree_has_bundles_beside_configs():
    assert bundles_root() == BUNDLES


def test_a_tree_without_bundles_yet_still_is_one(tree):
    shutil.rmtree(tree / "bundles")
    assert bundles_root() == tree / "bundles"
    assert list_bundles() == []


def test_a_wheel_has_its_bundles_inside(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "medkit"
    write_bundle(package / "_bundles" / "spleen_segmentation")
    # Other distributions may leave folders of such names beside the package.
    for name in ("configs", "bundles"):
        (package.parent / name).mkdir()
    monkeypatch.setattr(store, "_PACKAGE", package)
    assert [bundle.name for bundle in list_bundles()] == ["spleen_segmentation"]


def test_bundles_are_listed_by_name(tree):
    (tree / "bundles" / "not_one").mkdir()
    assert [bundle.name for bundle in list_bundles()] == ["liver_segmentation", "spleen_segmentation"]
    assert [bundle.name for bundle in list_bundles(tree / "bundles")] == [
        "liver_segmentation",
        "spleen_segmentation",
    ]


def test_a_bundle_is_found_by_name_or_folder(tree, tmp_path, monkeypatch):
    assert find_bundle("spleen_segmentation").root == tree / "bundles" / "spleen_segmentation"
    other = write_bundle(tmp_path / "mine")
    assert find_bundle(other).root == other
    assert find_bundle(str(other)).name == "mine"
    monkeypatch.chdir(other)
    assert find_bundle(".").name == "mine"


def test_the_bundle_of_a_training_is_called_by_what_tells_it_from_others(tmp_path):
    root = write_bundle(tmp_path / "spleen" / "first" / "fold0" / "bundle")
    assert BundleFolder(root).name == "bundle"
    (tmp_path / "spleen" / "first" / "run.json").write_text("{}")
    assert BundleFolder(root).name == "spleen/first/fold0"
    assert BundleFolder(root.rename(tmp_path / "mine")).name == "mine"


def test_a_path_is_never_taken_for_a_name(tree, tmp_path, monkeypatch):
    """``Path("./x")`` forgets its dot, and one's own copy of a bundle must not be passed over for that."""
    own = write_bundle(tmp_path / "work" / "spleen_segmentation")
    monkeypatch.chdir(own.parent)
    assert find_bundle(Path("./spleen_segmentation")).root == own
    assert find_bundle("./spleen_segmentation").root == own
    assert find_bundle("spleen_segmentation/").root == own
    assert find_bundle("spleen_segmentation").root == tree / "bundles" / "spleen_segmentation"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UsageError, match="spleen_segmentation: expected a bundle's folder, got nothing there"
    ):
        find_bundle(Path("spleen_segmentation"))


@pytest.mark.parametrize(
    ("name", "words"),
    [("spleen_segmentatoin", ["did you mean 'spleen_segmentation'?", "or give a bundle's folder"]),
     ("kidney", ["no bundle 'kidney'", "known bundles: liver_segmentation, spleen_segmentation"])],
)  # fmt: skip
def test_an_unknown_name_is_told_the_known_ones(tree, name, words):
    with pytest.raises(UsageError) as caught:
        find_bundle(name)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("hipocampus_unet", "hippocampus_segmentation_unet"),
        ("hippocampus_mamba", "hippocampus_segmentation_mamba"),
        ("Hippocampus_volumetrie", "hippocampus_volumetry"),
        ("brain_extracton", "brain_extraction"),
        ("kidney_unet", None),
    ],
)
def test_the_bundle_that_is_meant_is_found_behind_words_left_out(name, meant):
    with pytest.raises(UsageError) as caught:
        find_bundle(name)
    assert re.findall(r"did you mean '(\w*)'", str(caught.value)) == ([meant] if meant else [])


def test_a_bundle_says_whose_weights_it_lacks(tree):
    root = tree / "bundles" / "spleen_segmentation"

    def folder():  # anew each time, for what was looked up is kept
        return BundleFolder(root)

    assert folder().lacks_weights_of == "spleen_segmentation"
    (root / "models").mkdir()
    (root / "models" / "model.pt").touch()
    (root / "configs" / "inference.json").write_text("{}")
    assert folder().lacks_weights_of is None
    part = {"_target_": "medkit.inference.loading.load_bundle", "bundle": "liver_segmentation"}
    (root / "configs" / "inference.json").write_text(json.dumps({"parts": [{"finder": part}]}))
    assert folder().lacks_weights_of == "liver_segmentation"
    (tree / "bundles" / "liver_segmentation" / "models").mkdir()
    (tree / "bundles" / "liver_segmentation" / "models" / "model.pt").touch()
    assert folder().lacks_weights_of is None


def test_a_folder_that_is_no_bundle_is_refused(tree, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"not a MONAI bundle \(it has no configs/ folder\)"):
        find_bundle(tmp_path / "empty")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="not a MONAI bundle"):
        find_bundle(tmp_path / "file")
    with pytest.raises(UsageError, match="name one of them: liver_segmentation, spleen_segmentation"):
        find_bundle(tree / "bundles")


def test_no_bundles_at_all(tree):
    shutil.rmtree(tree / "bundles")
    with pytest.raises(UsageError, match="known bundles: none"):
        find_bundle("spleen")


def test_configs_are_found_as_json_first(tmp_path):
    folder = BundleFolder(write_bundle(tmp_path / "mine"))
    with pytest.raises(UsageError, match=r"mine: the bundle has no configs/inference\.json"):
        folder.config_path("inference")
    for suffix in (".yml", ".yaml", ".json"):
        path = folder.configs / f"inference{suffix}"
        path.touch()
        assert folder.config_path("inference") == path


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "cannot be read as JSON"), ("[1]", "expected a JSON object, got list"), ("\xff", "JSON")],
)
def test_metadata_that_cannot_be_read_are_refused(tmp_path, content, words):
    folder = BundleFolder(write_bundle(tmp_path / "mine"))
    folder.config_path("metadata").write_text(content, encoding="latin-1")
    with pytest.raises(UsageError, match=words) as caught:
        _ = folder.metadata
    assert "metadata.json" in str(caught.value)


@pytest.mark.parametrize(("metadata", "allowed"), [({}, True), ({"commercial_use": True}, True),
                                                   ({"commercial_use": False}, False)])  # fmt: skip
def test_terms_allow_commercial_use_unless_they_say_otherwise(tmp_path, metadata, allowed):
    assert BundleFolder(write_bundle(tmp_path / "mine", **metadata)).commercial_use is allowed


def test_the_digest_is_of_what_runs(tmp_path):
    root = write_bundle(tmp_path / "mine", version="1.0")
    (root / "models").mkdir()
    (root / "models" / "model.pt").write_bytes(b"weights")
    before = BundleFolder(root).digest()
    assert len(before) == 64
    assert BundleFolder(Path(shutil.copytree(root, tmp_path / "elsewhere" / "other_name"))).digest() == before
    for name in ("docs/README.md", "configs/__pycache__/x.pyc", "predictions/a.nii.gz", "LICENSE"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("text")
    assert BundleFolder(root).digest() == before


@pytest.mark.parametrize(
    "name", ["configs/metadata.json", "models/model.pt", "configs/extra.json", "scripts/net.py"]
)
def test_the_digest_changes_with_configs_weights_and_code(tmp_path, name):
    root = write_bundle(tmp_path / "mine", version="1.0")
    before = BundleFolder(root).digest()
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text("changed")
    assert BundleFolder(root).digest() != before


def test_the_digest_is_of_checkpoints_from_elsewhere_too(tmp_path):
    folder = BundleFolder(write_bundle(tmp_path / "mine", version="1.0"))
    folder.weights.parent.mkdir()
    folder.weights.write_bytes(b"weights")
    (tmp_path / "link.pt").symlink_to(folder.weights)
    own = folder.digest()
    assert folder.digest([folder.weights]) == own
    assert folder.digest([tmp_path / "link.pt"]) == own
    one, two, copy = (tmp_path / name for name in ("one.pt", "two.pt", "copy.pt"))
    for path, content in ((one, b"one"), (two, b"two"), (copy, b"one")):
        path.write_bytes(content)
    # Contents count and not places; so does the order, as the last one loaded wins.
    assert folder.digest([one]) == folder.digest([copy]) == folder.digest([folder.weights, one])
    orders = ([], [one], [two], [one, two], [two, one])
    assert len({folder.digest(order) for order in orders}) == len(orders)


def test_the_digest_is_of_names_as_well(tmp_path):
    root = write_bundle(tmp_path / "mine", version="1.0")
    (root / "configs" / "a.json").write_text("{}")
    before = BundleFolder(root).digest()
    (root / "configs" / "a.json").rename(root / "configs" / "b.json")
    assert BundleFolder(root).digest() != before


def loading(bundle, **more) -> dict[str, object]:
    """A part of a config that loads a bundle."""
    return {"_target_": "medkit.inference.loading.load_bundle", "bundle": str(bundle), **more}


def write_inference(root: Path, text: str, suffix: str = "json") -> Path:
    """Put an inference config into a bundle, and give the bundle's folder back."""
    (root / "configs" / f"inference.{suffix}").write_text(text)
    return root


def change_weights(root: Path, content: bytes) -> None:
    (root / "models").mkdir(exist_ok=True)
    (root / "models" / "model.pt").write_bytes(content)


@pytest.mark.parametrize("suffix", ["json", "yaml"])
@pytest.mark.parametrize("target", ["medkit.inference.loading.load_bundle", "medkit.load"])
def test_the_digest_is_of_the_bundles_that_it_loads_too(tmp_path, suffix, target):
    inner = write_bundle(tmp_path / "inner", version="1.0")
    change_weights(inner, b"weights")
    config = {"inferer": {"finder": loading(inner, _target_=target)}}
    root = write_inference(write_bundle(tmp_path / "mine", version="1.0"), json.dumps(config), suffix)
    before = BundleFolder(root).digest()
    (inner / "docs").mkdir()
    (inner / "docs" / "README.md").write_text("text")
    assert BundleFolder(root).digest() == before
    change_weights(inner, b"other weights")
    assert BundleFolder(root).digest() != before


@pytest.mark.parametrize(
    "part",
    [loading("@which"), loading("$'finder'"), loading("%which"), loading("nowhere"), loading("brain_extracton"),
     loading(BUNDLES / "brain_extraction", _disabled_=True), {"_target_": "medkit.load"}],
)  # fmt: skip
def test_bundles_that_the_files_alone_do_not_tell_are_no_part_of_the_digest(tmp_path, part):
    root = write_inference(write_bundle(tmp_path / "mine"), json.dumps({"finder": part}))
    plain = write_bundle(tmp_path / "plain")
    (plain / "configs" / "inference.json").write_bytes((root / "configs" / "inference.json").read_bytes())
    counted = json.dumps({"finder": loading(BUNDLES / "brain_extraction")})
    digest = BundleFolder(root).digest()
    assert digest == BundleFolder(plain).digest(config={})
    assert digest != BundleFolder(plain).digest(config=json.loads(counted))


def test_the_config_that_was_built_tells_which_bundles_count(tmp_path):
    one, two = (write_bundle(tmp_path / name, version=name) for name in ("one", "two"))
    root = write_inference(write_bundle(tmp_path / "mine"), json.dumps({"finder": loading(one)}))
    folder, built = BundleFolder(root), {"finder": loading(two)}
    assert folder.digest(config={"finder": loading(one)}) == folder.digest() != folder.digest(config=built)
    # What was loaded counts as it was loaded, once, and by its name where there are several.
    digests = [BundleFolder(inner).digest() for inner in (one, two)]
    pairs = list(zip(map(BundleFolder, (one, two)), digests, strict=True))
    assert folder.digest(bundles=pairs[:1]) == folder.digest()
    assert folder.digest(bundles=pairs[1:], config={}) == folder.digest(config=built)
    swapped = list(zip(map(BundleFolder, (one, two)), reversed(digests), strict=True))
    assert (
        folder.digest(bundles=pairs) == folder.digest(bundles=pairs[::-1]) != folder.digest(bundles=swapped)
    )


def test_bundles_that_name_themselves_or_each_other_have_a_digest(tmp_path):
    one, two = (write_bundle(tmp_path / name, version=name) for name in ("one", "two"))
    write_inference(one, json.dumps({"finder": loading(one)}))
    assert BundleFolder(one).digest() == BundleFolder(one).digest(config={})
    write_inference(one, json.dumps({"finder": loading(two)}))
    write_inference(two, json.dumps({"finder": loading(one)}))
    before = [BundleFolder(root).digest() for root in (one, two)]
    assert before[0] != before[1]
    change_weights(two, b"weights")
    assert all(BundleFolder(root).digest() != old for root, old in zip((one, two), before, strict=True))


@pytest.mark.parametrize(
    ("suffix", "text"), [("yaml", "a: [1"), ("yaml", "- 1"), ("json", "{"), ("json", "[1]")]
)
def test_an_inference_config_that_cannot_be_read_has_no_digest_and_names_no_bundles(tmp_path, suffix, text):
    inner = write_inference(write_bundle(tmp_path / "inner"), text, suffix)
    outer = write_inference(write_bundle(tmp_path / "outer"), json.dumps({"finder": loading(inner)}))
    for root in (inner, outer):
        with pytest.raises(
            UsageError, match=rf"inner/configs/inference\.{suffix}: (cannot be read|expected)"
        ):
            BundleFolder(root).digest()
    change_weights(inner, b"weights")
    assert BundleFolder(inner).lacks_weights_of is None
