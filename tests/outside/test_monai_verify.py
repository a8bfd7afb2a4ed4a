"""MONAI's own vetting of a bundle, the functions that the model zoo's script calls."""

from __future__ import annotations

import json

import nibabel as nib
import pytest
from monai.bundle import ConfigWorkflow, ckpt_export, verify_net_in_out

from medkit.bundle.instance import read_config
from medkit.bundle.store import list_bundles
from tests.phantoms import hippocampus, nifti

BUNDLES = list_bundles()
every_bundle = pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
# The others run the network of one of these, several times for one prediction.
every_network = pytest.mark.parametrize(
    "bundle",
    [bundle for bundle in BUNDLES if "weights_of" not in bundle.metadata],
    ids=lambda bundle: bundle.name,
)


def write_cases(folder, names=("one", "two")):
    """A data set of two cases in two folds, as `dataset_dir` wants it."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for seed, name in enumerate(names):
        image, label = hippocampus(seed=seed)
        nib.save(nifti(image), folder / "images" / f"{name}.nii.gz")
        nib.save(nifti(label), folder / "labels" / f"{name}.nii.gz")
        nib.save(nifti(label), folder / f"{name}.nii.gz")  # where images are made of label maps
    (folder / "dataset.json").write_text(json.dumps({"folds": [[name] for name in names]}))
    return folder


def workflow(bundle, kind, **overrides) -> ConfigWorkflow:
    made = ConfigWorkflow(
        str(bundle.config_path("inference" if kind == "infer" else kind)),
        workflow_type=kind,
        logging_file=False,
        bundle_root=str(bundle.root),
        **overrides,
    )
    made.initialize()
    return made


def test_there_are_bundles():
    assert BUNDLES


@every_bundle
def test_the_inference_config_has_all_properties(bundle, tmp_path):
    data = write_cases(tmp_path / "data")
    made = workflow(bundle, "infer", dataset_dir=str(data / "images"), output_dir=str(tmp_path / "out"))
    assert made.check_properties() == []
    assert len(made.dataset_data) == 2


@every_network
def test_the_train_config_has_all_properties(bundle, tmp_path):
    # The logger would open a run in the tracking store.
    overrides = {
        "dataset_dir": str(write_cases(tmp_path / "data")),
        "run_dir": str(tmp_path / "run"),
        "fold": 0,
    }
    if "split" in read_config(bundle, "train"):
        overrides["split"] = [["one"], ["two"]]
    made = workflow(bundle, "train", **overrides, **{"train::trainer::logger": False})
    assert made.check_properties() == []
    assert [item["case"] for item in made.train_dataset_data] == ["two"]


@every_network
@pytest.mark.parametrize("n", [1, 2])
def test_the_network_takes_and_gives_what_the_metadata_say(bundle, n):
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle.config_path("metadata")),
        config_file=str(bundle.config_path("inference")),
        n=n,
        bundle_root=str(bundle.root),
    )


@every_bundle
def test_the_weights_can_be_exported(bundle, tmp_path):
    """Medkit's own networks, which pad to any size, are traced: TorchScript's compiler does not take them."""
    own = read_config(bundle, "inference")["network_def"]["_target_"].startswith("medkit.networks.")
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(bundle.weights),
        meta_file=str(bundle.config_path("metadata")),
        config_file=[str(bundle.config_path("inference"))],
        key_in_ckpt="",
        use_trace=own,
        bundle_root=str(bundle.root),
    )
    assert (tmp_path / "model.ts").is_file()
