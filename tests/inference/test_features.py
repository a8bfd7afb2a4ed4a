"""Features of a bundle: where they lie, that windows blend into one map, and which bundles have none."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files

import nibabel as nib
import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from torch.nn import functional

import medkit
from medkit.data import Grid, find_cases
from medkit.errors import CaseError, UsageError
from medkit.inference.cascade import CascadeInferer
from medkit.inference.features import windowed_features
from medkit.inference.memory import estimate_bytes
from medkit.inference.native_labels import NativeLabelInferer
from medkit.inference.run import RunOptions, predict_cases
from medkit.inference.sliding_window import SlabInferer
from medkit.networks.features import FeatureNetwork
from tests.phantoms import OBLIQUE, PLAIN, hippocampus, world, write_hippocampus
from tests.tiny_bundle import edit_json, other_weights, save_weights
from tests.traced_memory import peak_tensor_bytes

IMAGE, _ = hippocampus(affine=PLAIN)
NETWORK = {
    "_target_": "medkit.networks.subvoxel_unet.SubvoxelUNet",
    **{"spatial_dims": 3, "in_channels": 1, "out_channels": 3, "filters": [6, 8], "strides": [2]},
}


class BlockMeans(FeatureNetwork):
    """Its features are the mean of each block, and that times two."""

    def __init__(self, block: int = 2) -> None:
        super().__init__(3, 2, block)

    def features(self, image: torch.Tensor) -> torch.Tensor:
        mean = functional.avg_pool3d(image, self.block, ceil_mode=True)
        return torch.cat([mean, 2 * mean], 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([-image, image, 0 * image], 1)


@pytest.fixture(scope="module")
def blocks_root(tiny_root, tmp_path_factory):
    """The tiny bundle with a network on blocks."""
    root = shutil.copytree(tiny_root, tmp_path_factory.mktemp("blocks") / "bundle")
    for kind in ("inference", "train"):
        edit_json(root / "configs" / f"{kind}.json", lambda config: config.update(network_def=NETWORK))
    save_weights(root)
    return root


@pytest.fixture(scope="module")
def blocks(blocks_root):
    return medkit.load(blocks_root)


@pytest.mark.parametrize("block", [1, 2, 3])
@pytest.mark.parametrize("affine", [PLAIN, OBLIQUE], ids=["plain", "oblique"])
def test_features_lie_where_their_grid_says(blocks_root, tmp_path, affine, block):
    """An image of millimetres along each axis of the body has, at each place, the millimetres of that place."""
    root = shutil.copytree(blocks_root, tmp_path / "bundle")
    steps = ["@load_image", "@orient", "@resample"]
    edit_json(
        root / "configs" / "inference.json", lambda config: config["preprocessing"].update(transforms=steps)
    )
    bundle = medkit.load(root)
    bundle.network = BlockMeans(block)
    shape = (27, 22, 19)
    for axis in range(3):
        image = world(shape, affine)[..., axis].astype(np.float32)
        found = bundle.predict(image, affine, features=True).features
        assert found.array.dtype == np.float16
        assert found.array.shape == (2, *found.grid.shape)
        np.testing.assert_allclose(found.grid.spacing, [block] * 3, rtol=1e-6)
        places = nib.affines.apply_affine(found.grid.affine, np.moveaxis(np.indices(found.grid.shape), 0, -1))
        inside = inside_of(places, shape, affine, margin=block)
        assert inside.sum() > 20
        np.testing.assert_allclose(found.array[0][inside], places[..., axis][inside], atol=0.05)
        np.testing.assert_allclose(found.array[1], 2 * found.array[0], atol=0.1)


def inside_of(places, shape, affine, margin):
    """Those places about which there is image for so many millimetres."""
    index = nib.affines.apply_affine(np.linalg.inv(affine), places)
    reach = margin / np.linalg.norm(affine[:3, :3], axis=0)
    return np.all((index >= reach) & (index <= np.array(shape) - 1 - reach), axis=-1)


@pytest.mark.parametrize("sizes", [(16, 16, 16), (37, 22, 9), (3, 41, 1)])
@pytest.mark.parametrize("roi", [(16, 16, 16), (11, 12, 7), (0, 16, -1), 8])
def test_windows_blend_into_one_map(sizes, roi):
    """Of a network whose features see their block alone, whatever windows: the same as in one."""
    image, network = torch.randn(1, *sizes), BlockMeans()
    found = windowed_features(image, network, SlabInferer(roi, overlap=0.5, mode="gaussian"))
    padded = functional.pad(image[None], [n for size in reversed(sizes) for n in (0, size % 2)], "replicate")
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), network.features(padded)[0], rtol=1e-3, atol=1e-3)


def test_one_window_gives_the_network_s_own_features(blocks):
    image = torch.randn(1, 16, 16, 16)
    with torch.no_grad():
        expected = blocks.network.features(image[None])[0]
    found = windowed_features(image, blocks.network, SlabInferer((16, 16, 16)))
    torch.testing.assert_close(found.float(), expected, rtol=1e-3, atol=1e-3)


def test_labels_are_the_same_with_and_without(blocks):
    plain, found = blocks.predict(IMAGE, PLAIN), blocks.predict(IMAGE, PLAIN, features=True)
    np.testing.assert_array_equal(found.labels, plain.labels)
    assert plain.features is None
    assert set(found.seconds) - set(plain.seconds) == {"features"}
    assert found.features.array.any()


def test_windows_are_told_of(blocks):
    heard = []
    blocks.predict_volume(
        medkit.data.as_volume(np.tile(IMAGE, (2, 2, 2)), PLAIN),
        features=True,
        on_windows=lambda *n: heard.append(n),
    )
    assert heard.count((heard[-1][1], heard[-1][1])) == 2
    assert heard[-1][1] > 1


def test_files_record_and_second_call(blocks, tmp_path):
    write_hippocampus(tmp_path / "scan.nii.gz")
    cases, out = find_cases([tmp_path / "scan.nii.gz"]), tmp_path / "out"

    def status(**options):
        return predict_cases(blocks, cases, out, RunOptions(pictures=False, **options))[0].status

    assert status() == "done"
    assert status(features=True) == "done", "what was finished without them is not finished"
    assert status(features=True) == status() == "skipped"
    record = json.loads((out / "cases" / "scan.json").read_text())
    schema = json.loads((files("medkit") / "schemas" / "case.schema.json").read_text())
    assert not list(Draft202012Validator(schema).iter_errors(record))
    assert record["outputs"]["features"] == "features/scan.nii.gz"
    expected = blocks.predict(tmp_path / "scan.nii.gz", features=True).features
    written = nib.load(out / "features" / "scan.nii.gz")
    assert written.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.moveaxis(written.get_fdata(dtype=np.float32), -1, 0), expected.array)
    np.testing.assert_allclose(written.affine, expected.grid.affine, atol=1e-4)
    (out / "features" / "scan.nii.gz").unlink()
    assert status(features=True) == "done"
    assert status(force=True) == "done"
    assert not (out / "features" / "scan.nii.gz").exists(), "of results that were replaced nothing stays"


def test_an_image_of_unknown_voxel_size_has_features_of_unknown_size(blocks_root):
    bundle = medkit.load(blocks_root, overrides={"spacing": [-1.0, -1.0, -1.0]})
    bundle.preprocessing.transforms = tuple(
        step for step in bundle.preprocessing.transforms if type(step).__name__ != "Spacingd"
    )
    volume = medkit.data.as_volume(IMAGE, PLAIN)
    unknown = medkit.data.Volume(volume.array, Grid(volume.grid.shape, PLAIN, size_known=False))
    found = bundle.predict_volume(unknown, features=True)
    assert not found.features.grid.size_known


def test_a_bundle_of_labels_without_scores_has_features_too(blocks):
    plain = blocks.predict(IMAGE, PLAIN, features=True).features
    joined = NativeLabelInferer(blocks.inferer, blocks.preprocessing, softmax=True)
    found = windowed_features(torch.randn(1, 16, 16, 16), blocks.network, joined)
    assert found.shape == (6, 8, 8, 8)
    assert plain.array.shape[0] == 6


def test_numbers_beyond_half_precision_are_refused(blocks_root):
    bundle = medkit.load(blocks_root)

    class Large(BlockMeans):
        def features(self, image: torch.Tensor) -> torch.Tensor:
            return super().features(image) * 1e6

    bundle.network = Large()
    with pytest.raises(CaseError, match="expected finite numbers in the features") as caught:
        bundle.predict(IMAGE, PLAIN, features=True)
    assert caught.value.code == "output-not-finite"


@pytest.mark.parametrize(
    ("loaded", "got"), [({"flips": "LR"}, "mirror images"), ({"weights": 2}, "several networks")]
)
def test_means_have_none(blocks_root, tmp_path, loaded, got):
    if "weights" in loaded:
        other = other_weights(blocks_root, tmp_path / "other.pt")
        loaded = {"weights": [blocks_root / "models" / "model.pt", other]}
    with pytest.raises(UsageError, match=f"{blocks_root}: expected one network and the image alone, .*{got}"):
        medkit.load(blocks_root, **loaded).predict(IMAGE, PLAIN, features=True)


def test_other_weights_have_their_own(blocks_root, blocks, tmp_path):
    other = medkit.load(blocks_root, weights=[other_weights(blocks_root, tmp_path / "model.pt")])
    found = [bundle.predict(IMAGE, PLAIN, features=True).features.array for bundle in (blocks, other)]
    assert not np.array_equal(*found)


def test_networks_and_windows_without_features_are_refused(tiny, blocks_root):
    with pytest.raises(UsageError, match=r"tiny_segmentation: expected a network that gives its features"):
        medkit.load(tiny.folder.root).predict(IMAGE, PLAIN, features=True)
    bundle = medkit.load(blocks_root)
    cascade = CascadeInferer(tiny, {"a": False}, 1.0, 0.1, (0, 100), lambda item: item, bundle.inferer)
    for inferer in (SlidingWindowInferer((16, 16, 16)), cascade):
        bundle.inferer = inferer
        name = type(inferer).__name__
        with pytest.raises(UsageError, match=f"expected SlabInferer or NativeLabelInferer .* got {name}"):
            bundle.predict(IMAGE, PLAIN, features=True)


def test_the_estimate_of_memory_has_them(blocks):
    shape, channels = (64, 64, 64), 1
    grid = Grid(shape, np.eye(4))
    plain, found = (estimate_bytes(blocks, grid, channels, 3, features=asked) for asked in (False, True))
    assert found > plain
    image = MetaTensor(torch.randn(1, *shape))
    network = BlockMeans()
    network.feature_channels = 64

    def wide(part: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool3d(part, 2).repeat(1, 64, 1, 1, 1)

    network.features = wide
    held = peak_tensor_bytes(lambda: windowed_features(image, network, SlabInferer((16, 64, 64))))
    whole = 64 * 32**3
    assert held < whole * (2 + 4), "the map in half precision, the windows, and no second map"
