"""Bundles come to life as they were asked for, and say what stands in the way."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from medkit.bundle.store import BundleFolder
from medkit.dicom.writing.uids import ResultUids
from medkit.errors import UsageError
from medkit.inference.dicom_results import result_maker
from medkit.inference.loading import load_bundle
from tests.dicom.writing.sources import source_with
from tests.phantoms import PLAIN, SHAPE, hippocampus
from tests.random_numbers import draw, seed
from tests.tiny_bundle import edit_json, make_tiny_bundle, other_weights

IMAGE, _ = hippocampus(affine=PLAIN)


def test_overrides_take_effect(tiny_root, labels):
    coarse = load_bundle(tiny_root, overrides={"spacing": [4.0, 4.0, 4.0]})
    assert coarse.predict(IMAGE, PLAIN).labels.shape == SHAPE
    assert not np.array_equal(coarse.predict(IMAGE, PLAIN).labels, labels)


def test_loading_leaves_the_random_numbers_of_the_caller_alone():
    """The bundle seeds all of them: it calls ``set_determinism`` to initialise."""
    seed(5)
    expected = draw()
    seed(5)
    load_bundle("hippocampus_segmentation_unet")
    assert draw() == expected


def test_a_device_for_a_bundle_that_has_no_place_for_one(tmp_path):
    root = make_tiny_bundle(tmp_path)
    path = root / "configs" / "inference.json"
    path.write_text(path.read_text().replace("@device", "@place"))
    edit_json(path, lambda config: config.update(place=config.pop("device")))
    with pytest.raises(
        UsageError, match=r"^--device cpu: expected a 'device' in .*inference\.json"
    ) as caught:
        load_bundle(root, device="cpu")
    assert "leave --device out" in str(caught.value)
    assert load_bundle(root, overrides={"place": "$torch.device('cpu')"}).network is not None


def test_weights_from_elsewhere_are_part_of_the_identity(tmp_path):
    root = make_tiny_bundle(tmp_path / "bundle")
    other = tmp_path / "other.pt"
    overrides = {"checkpointloader::load_path": str(other)}
    weights = torch.load(root / "models" / "model.pt", weights_only=True)
    digests = [load_bundle(root).digest]
    for factor in (1, 2):
        torch.save({name: value * factor for name, value in weights.items()}, other)
        digests.append(load_bundle(root, overrides=overrides).digest)
    assert len(set(digests)) == 3
    assert digests[0] == BundleFolder(root).digest()


@pytest.fixture
def cascade(tmp_path):
    """A cascade, the bundle that it runs first, and one like that with other weights."""
    finder = make_tiny_bundle(tmp_path, name="finder")
    other = Path(shutil.copytree(finder, tmp_path / "other" / "finder"))
    other_weights(finder, other / "models" / "model.pt")
    root = make_tiny_bundle(tmp_path, name="cascade")
    change_finder(root, {"_target_": "medkit.inference.loading.load_bundle", "bundle": str(finder)})
    return root, finder, other


def change_finder(root, finder, **more):
    inferer = {
        "_target_": "medkit.inference.cascade.CascadeInferer",
        **{
            "finder": "@finder",
            "structures": {"a": False},
            "margin_mm": 1,
            "minimum_ml": 0,
            "agreement": [0, 100],
        },
        **{"preprocessing": "$lambda item: item", "inferer": {"_target_": "SimpleInferer"}},
    }
    edit_json(root / "configs" / "inference.json", lambda c: c.update(inferer=inferer, finder=finder, **more))


def test_the_bundle_that_a_cascade_runs_is_part_of_the_identity_of_its_results(cascade, tmp_path):
    root, finder, other = cascade
    place = finder.parent / "third"
    overrides, makers = {"finder::bundle": str(place)}, []
    for content in (finder, other):
        shutil.copytree(content, place, dirs_exist_ok=True)
        bundle = load_bundle(root, overrides=overrides)
        makers.append(result_maker(bundle.folder, bundle.provenance))
    assert makers[0].settings == makers[1].settings == {"overrides": overrides}
    assert makers[0].identity != makers[1].identity
    source = source_with(tmp_path / "source")
    first, second = (ResultUids(source, maker, "segmentation-binary").series for maker in makers)
    assert first != second
    # With other weights of its own, too.
    own = [root / "models" / "model.pt"]
    assert load_bundle(root, weights=own).digest != load_bundle(root, overrides=overrides, weights=own).digest


def test_a_loaded_cascade_has_the_digest_of_its_files(cascade, tmp_path):
    root, finder, _ = cascade
    loaded = load_bundle(root).digest
    assert (
        loaded == BundleFolder(root).digest() == load_bundle(root, overrides={"patch_size": [40] * 3}).digest
    )
    # And so has a cascade that runs a cascade.
    outer = make_tiny_bundle(tmp_path, name="outer")
    change_finder(outer, {"_target_": "medkit.load", "bundle": str(root)})
    before = load_bundle(outer).digest
    assert before == BundleFolder(outer).digest()
    other_weights(finder, finder / "models" / "model.pt")
    assert before != load_bundle(outer).digest == BundleFolder(outer).digest()


def test_a_bundle_that_is_loaded_later_counts_as_its_files_are(cascade):
    root, *places = cascade
    digests = set()
    for place in places:
        late = {"_target_": "medkit.load", "_mode_": "callable", "bundle": str(place)}
        digests.add(load_bundle(root, overrides={"finder": late}).digest)
    assert len(digests) == 2


@pytest.mark.parametrize("way", ["reference", "expression", "override", "code"])
def test_a_bundle_counts_however_the_config_asks_for_it(cascade, way):
    root, *places = cascade
    digests = set()
    for place in places:
        part, overrides = {"_target_": "medkit.load", "bundle": "@which"}, {}
        if way == "expression":
            part["bundle"] = "$str(@which)"
        elif way == "code":
            (root / "scripts").mkdir(exist_ok=True)
            (root / "scripts" / "finding.py").write_text(
                "import medkit\n\nfind = lambda place: medkit.load(place)\n"
            )
            part = {"_target_": "scripts.finding.find", "place": "@which"}
        elif way == "override":
            part, overrides = {**part, "bundle": "/nowhere"}, {"finder": {**part, "bundle": str(place)}}
        # The config is the same for both: the folder that it names is another each time.
        which = root / "finder"
        which.unlink(missing_ok=True)
        which.symlink_to(place)
        change_finder(root, part, which=str(which))
        digests.add(load_bundle(root, overrides=overrides).digest)
        assert BundleFolder(root).digest() not in digests
    assert len(digests) == 2


def test_a_bundle_that_is_switched_off_is_not_looked_for(cascade):
    root, finder, _ = cascade
    part = {"_target_": "medkit.load", "bundle": "nowhere", "_disabled_": True}
    change_finder(root, {"_target_": "medkit.load", "bundle": str(finder)}, extra=part)
    assert load_bundle(root).digest == BundleFolder(root).digest()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hippocampus_segmentation", {}, "did you mean 'hippocampus_segmentation_unet'"),
        ("hippocampus_segmentation_unet", {"overrides": {"inferer::overlp": 1}}, "did you mean 'overlap'"),
        ("hippocampus_segmentation_unet", {"device": "cuda:99"}, "cannot be used here"),
        ("hippocampus_segmentation_unet", {"device": "nonsense"}, "cannot be used here"),
    ],
)
def test_what_cannot_be_loaded(name, options, message):
    with pytest.raises(UsageError, match=message):
        load_bundle(name, **options)
