import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from medkit.bundle.instance import ConfigInstance
from medkit.bundle.store import bundles_root, find_bundle
from medkit.data import read_volume
from medkit.data.writing import write_text
from medkit.errors import TrainingError, UsageError
from medkit.training.run import create_run, fold_name, open_run
from tests.tiny_bundle import edit_json, make_tiny_bundle

BUNDLE = "hippocampus_segmentation_unet"
WEIGHTS = "$@bundle_root + '/models/model.pt'"


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


def test_fold_is_trained_scored_and_recorded(store: Path, small, dataset_dir: Path):
    run = create_run(BUNDLE, store / "runs", overrides=small, name="trial", held_out=[1])
    run.train()
    folder = store / "runs" / BUNDLE / "trial" / "fold1"
    record = json.loads((folder / "record.json").read_text())
    assert record["train_cases"] == ["phantom_1", "phantom_2", "phantom_5", "phantom_6"]
    assert record["test_cases"] == ["phantom_3", "phantom_4"]
    assert record["steps"] == 12
    assert record["seconds"] > 0
    assert len(record["data_sha256"]) == 12
    rows = list(csv.DictReader((folder / "scores.csv").open()))
    assert {row["case"] for row in rows} == {"phantom_3", "phantom_4"}
    assert {row["name"] for row in rows} == {"anterior hippocampus", "posterior hippocampus"}
    weights = torch.load(folder / "model.pt", weights_only=True)
    assert all(torch.isfinite(value).all() for value in weights.values())
    exported = torch.load(folder / "bundle" / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(exported[name], value) for name, value in weights.items())
    config = json.loads((folder / "bundle" / "configs" / "inference.json").read_text())
    assert config["network_def"]["filters"] == small["network_def::filters"]
    assert len(record["images_sha256"]) == 4
    assert set(record["images_sha256"]) < set(record["data_sha256"].values())
    for case in ("phantom_3", "phantom_4"):
        predicted = read_volume(folder / "predictions" / f"{case}.nii.gz")
        image = read_volume(dataset_dir / "images" / f"{case}.nii.gz")
        assert predicted.grid.shape == image.grid.shape
    assert {path.name for path in (folder / "figures").iterdir()} == {"worst.png", "median.png", "best.png"}


@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_a_schedule_of_few_steps_too_comes_to_its_end(steps: int):
    few = {"epochs": 1, "samples_per_epoch": 4 * steps, "batch_size": 4}
    make = ConfigInstance(find_bundle(BUNDLE), "train", few).build("lr_scheduler")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = make(optimizer)
    for _ in range(steps - 1):
        optimizer.step()
        schedule.step()
    assert schedule.get_last_lr()[0] < 1e-6


def test_weights_are_the_averaged_ones_not_the_last(store: Path, small):
    run = create_run(BUNDLE, store / "runs", overrides={**small, "ema_decay": 0.9}, name="ema")
    run.train()
    folder = run.folder / "all"
    weights = torch.load(folder / "model.pt", weights_only=True)
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=False)
    key = next(iter(weights))
    assert torch.equal(weights[key], checkpoint["state_dict"][f"network.{key}"])
    assert not torch.equal(weights[key], checkpoint["current_model_state"][f"network.{key}"])


def test_cross_validation_trains_every_fold_and_all(store: Path, small):
    run = create_run(BUNDLE, store / "runs", overrides={**small, "epochs": 1}, name="cv", cross_validate=True)
    assert run.folds == (0, 1, 2, None)
    assert open_run(run.folder).folds == run.folds
    assert open_run(run.folder).overrides == run.overrides
    started = []
    run.train(started.append)
    assert started == [0, 1, 2, None]
    assert run.unfinished == []
    assert not (run.folder / "all" / "scores.csv").exists()


def test_run_keeps_the_config_that_it_was_begun_with(store: Path, small):
    run = create_run(BUNDLE, store / "runs", overrides=small, name="kept")
    assert run.bundle.root.is_relative_to(run.folder)
    assert run.bundle.config_path("train").read_text() == find_bundle(BUNDLE).config_path("train").read_text()
    assert open_run(run.folder) == run


def test_run_may_be_moved_and_taken_up_from_anywhere(store: Path, small, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    run = create_run(BUNDLE, store / "runs", overrides=small, name="here")
    assert run.tracking_uri == f"sqlite:///{store}/runs/mlflow.db"
    there = store / "elsewhere" / BUNDLE / "there"
    there.parent.mkdir(parents=True)
    run.folder.rename(there)
    monkeypatch.chdir(there)
    moved = open_run(Path("../there"))
    assert moved.bundle.config_path("train").is_file()
    assert moved.tracking_uri == run.tracking_uri


def test_run_is_begun_whole_or_not_at_all(store: Path, small, monkeypatch):
    import medkit.training.run as module

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        create_run(BUNDLE, store / "runs", overrides=small, name="same")
    monkeypatch.setattr(module, "write_text", write_text)
    assert list((store / "runs" / BUNDLE).iterdir()) == []
    create_run(BUNDLE, store / "runs", overrides=small, name="same")


@pytest.mark.parametrize("key", ["fold", "run_dir", "run_name"])
def test_what_the_run_sets_cannot_be_overridden(store: Path, small, key):
    with pytest.raises(UsageError, match=f"--set {key}: a run sets '{key}' by itself; use --"):
        create_run(BUNDLE, store / "runs", overrides={**small, key: 0})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"overrides": {}, "folds": 3, "tracking_uri": "x"}'])
def test_damaged_run_file_is_one_line(tmp_path: Path, content: str):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UsageError, match=r"run\.json: expected the settings of a run, got something else"):
        open_run(tmp_path)


def test_run_killed_after_its_last_epoch_ends_with_the_averaged_weights(store: Path, small):
    run = create_run(BUNDLE, store / "runs", overrides=small, name="late", held_out=[0])
    run.train()
    folder = run.folder / "fold0"
    whole, scores = torch.load(folder / "model.pt"), (folder / "scores.csv").read_text()
    for name in ("record.json", "model.pt", "scores.csv"):
        (folder / name).unlink()
    open_run(run.folder).train()
    resumed = torch.load(folder / "model.pt")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert (folder / "scores.csv").read_text() == scores


def test_settings_that_changed_since_the_run_began_are_refused(store: Path, small):
    run = create_run(BUNDLE, store / "runs", overrides={**small, "epochs": 1}, name="changed")
    run.train()
    (run.folder / "all" / "record.json").unlink()
    path = run.folder / "run.json"
    path.write_text(path.read_text().replace('"epochs": 1', '"epochs": 2'))
    with pytest.raises(UsageError, match=r"expected the settings that this run began with, .*epochs for one"):
        open_run(run.folder).train()


def test_data_that_changed_since_the_run_began_are_refused(store: Path, small, dataset_dir: Path):
    copy = shutil.copytree(dataset_dir, store / "data")
    overrides = {**small, "epochs": 1, "dataset_dir": str(copy)}
    run = create_run(BUNDLE, store / "runs", overrides=overrides, name="changed", held_out=[0])
    run.train()
    (run.folder / "fold0" / "record.json").unlink()
    shutil.copy2(copy / "images" / "phantom_1.nii.gz", copy / "images" / "phantom_2.nii.gz")
    with pytest.raises(UsageError, match=r"expected the data that this run began with, .*images/phantom_2"):
        open_run(run.folder).train()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"learning_rate": 1e18},
            r"epoch 1: expected a finite loss, got nan; .*precision=32-true or a lower",
        ),
        # One step of one epoch: its loss is finite, what it leads to is not.
        (
            {"learning_rate": 1e38, "epochs": 1, "samples_per_epoch": 2, "optimizer::weight_decay": 1e10},
            r"epoch 1: expected finite weights",
        ),
    ],
)
def test_a_training_that_diverges_stops_and_writes_no_network(store: Path, small, change, message):
    run = create_run(BUNDLE, store / "runs", overrides={**small, **change}, name="diverged")
    with pytest.raises(TrainingError, match=message):
        run.train()
    written = {path.name for path in (run.folder / "all").rglob("*") if path.is_file()}
    assert not written & {"model.pt", "record.json", "last.ckpt"}


def test_a_diverged_training_goes_on_from_finite_weights_and_stops_again(store: Path, small, monkeypatch):
    """The loss of the second epoch is not finite, and would not be at a second try."""
    from medkit.training.segmentation import SegmentationModule

    step = SegmentationModule.training_step

    def diverging(module, batch, batch_idx):
        if module.current_epoch == 1:
            batch["image"] = batch["image"] * float("inf")
        return step(module, batch, batch_idx)

    monkeypatch.setattr(SegmentationModule, "training_step", diverging)
    run = create_run(BUNDLE, store / "runs", overrides=small, name="late")
    for _ in range(2):
        with pytest.raises(TrainingError, match="epoch 2: expected a finite loss, got nan"):
            open_run(run.folder).train()
        kept = torch.load(run.folder / "all" / "checkpoints" / "last.ckpt", weights_only=False)
        assert kept["epoch"] == 0
        assert all(value.isfinite().all() for value in kept["state_dict"].values())
        assert not (run.folder / "all" / "model.pt").exists()


def test_second_training_of_a_finished_run_does_nothing(store: Path, small):
    run = create_run(BUNDLE, store / "runs", overrides={**small, "epochs": 1}, name="once")
    run.train()
    written = (run.folder / "all" / "model.pt").stat().st_mtime_ns
    open_run(run.folder).train()
    assert (run.folder / "all" / "model.pt").stat().st_mtime_ns == written


class Stopped(Exception):
    """Ends a training before it begins."""


def test_a_run_that_is_being_trained_is_not_trained_by_a_second_process(store: Path, small):
    run = create_run(BUNDLE, store / "runs", overrides=small, name="race")
    told = []

    def stop(fold: int | None) -> None:
        raise Stopped

    def second(fold: int | None) -> None:
        with pytest.raises(
            UsageError, match="race: expected a run that nobody trains, got one that another"
        ) as refused:
            open_run(run.folder).train()
        told.append(refused.value)
        raise Stopped

    with pytest.raises(Stopped):
        run.train(second)
    assert told
    with pytest.raises(Stopped):
        open_run(run.folder).train(stop)


def test_name_that_is_taken_is_refused(store: Path, small):
    create_run(BUNDLE, store / "runs", overrides=small, name="same")
    with pytest.raises(UsageError, match=r"this run exists; go on with it by --resume same"):
        create_run(BUNDLE, store / "runs", overrides=small, name="same")


def test_run_that_is_not_there_names_those_that_are(store: Path, small):
    create_run(BUNDLE, store / "runs", overrides=small, name="first")
    with pytest.raises(
        UsageError, match="no training run here; runs: first; --runs names the folder of all runs"
    ):
        open_run(store / "runs" / BUNDLE / "second")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"learning_rat": 1e-3}, "did you mean 'learning_rate'"),
        ({"fold": 9}, "fold 9: .* has folds 0 to 2"),
        ({"dataset_dir": "/nowhere"}, "/nowhere/dataset.json: no such file"),
        (
            {"network_def": "segmamba"},
            "expected a mapping .* got 'segmamba'; to put another component in its place",
        ),
        (
            {"network_def::_target_": "medkit.networks.scan_unet.ScanUNet"},
            "'kernel_size'; to put another component in its place, give the whole of it, such as --set 'network_def={",
        ),
        ({"network_def::_target_": "DynUNett"}, "'network_def' cannot be built: .*DynUNett"),
        ({"network_def": {"_target_": "DynUNet"}}, "'network_def' cannot be built: .*spatial_dims"),
        (
            {"network_def::out_channels": 5},
            r"expected logits \(2, 3, 24, 24, 24\) .* got \(2, 5, 24, 24, 24\)",
        ),
        ({"epochs": 0}, "^epochs: expected a whole number of at least 1, got 0; choose one by --set epochs"),
        ({"epochs": 1.5}, "^epochs: expected a whole number of at least 1, got 1.5"),
        ({"batch_size": 0}, "^batch_size: expected a whole number of at least 1, got 0"),
        ({"samples_per_epoch": 1}, "^samples_per_epoch: expected at least one batch of 2, got 1; "),
        ({"val_every": 0}, "^val_every: expected a whole number"),
    ],
)
def test_bad_settings_are_one_line(store: Path, small, overrides, message):
    held_out = [overrides.pop("fold")] if "fold" in overrides else [None]
    with pytest.raises(UsageError, match=message):
        create_run(BUNDLE, store / "runs", overrides={**small, **overrides}, held_out=held_out)
    assert not (store / "runs").exists()


def test_a_config_that_counts_otherwise(store: Path, small):
    """A bundle of one's own may draw its batches from something that has no samples_per_epoch."""
    own = shutil.copytree(bundles_root() / BUNDLE, store / "own")
    config = own / "configs" / "train.json"
    config.write_text(config.read_text().replace("samples_per_epoch", "drawn"))
    overrides = {key: value for key, value in small.items() if key != "samples_per_epoch"}
    assert create_run(own, store / "runs", overrides={**overrides, "batch_size": 2}).folder.is_dir()


@pytest.mark.parametrize(
    ("key", "value"), [("train::trainer::precision", "33-true"), ("checkpoint::every_n_epochs", -2)]
)
def test_a_run_whose_training_cannot_begin_leaves_its_name_free(store: Path, small, key, value):
    run = create_run(BUNDLE, store / "runs", overrides={**small, key: value}, name="typo")
    with pytest.raises(UsageError, match="cannot be built"):
        run.train()
    assert not run.folder.exists()
    create_run(BUNDLE, store / "runs", overrides=small, name="typo")


def test_labels_without_a_class_are_told_and_leave_the_name_free(store: Path, small, dataset_dir: Path):
    copy = shutil.copytree(dataset_dir, store / "data")
    for path in (copy / "labels").iterdir():
        image = nib.load(path)
        nib.save(nib.Nifti1Image(4 * np.asanyarray(image.dataobj), image.affine), path)
    run = create_run(BUNDLE, store / "runs", overrides={**small, "dataset_dir": str(copy)}, name="labels")
    with pytest.raises(
        UsageError, match=r"values from 0 to 2, the classes of the network, got [48]; mend the label"
    ):
        run.train()
    assert not run.folder.exists()


def test_a_run_that_was_there_before_stays(store: Path, small):
    overrides = {**small, "train::trainer::precision": "33-true"}
    run = create_run(BUNDLE, store / "runs", overrides=overrides, name="stays")
    with pytest.raises(UsageError, match="cannot be built"):
        open_run(run.folder).train()
    assert run.folder.is_dir()


@pytest.fixture
def twofold(store: Path) -> Path:
    """A bundle with weights and a second training config, which goes on with them."""
    own = make_tiny_bundle(store / "own")
    shutil.copy2(own / "configs" / "train.json", own / "configs" / "more.json")
    edit_json(
        own / "configs" / "more.json",
        lambda config: config.update(initial_weights=WEIGHTS, learning_rate=1e-12),
    )
    return own


def test_another_training_config_of_a_bundle_is_run_remembered_and_resumed(twofold: Path, store: Path, small):
    overrides = {key: value for key, value in small.items() if not key.startswith("network_def")}
    options = {"overrides": {**overrides, "epochs": 1}, "name": "more", "training": "more", "held_out": [0]}
    run = create_run(twofold, store / "runs", **options)
    assert open_run(run.folder) == run
    assert open_run(run.folder).training == "more"
    open_run(run.folder).train()
    # At this rate of learning nothing moves: the run began with the bundle's own weights, which it holds no copy of.
    first = torch.load(twofold / "models" / "model.pt", weights_only=True)
    last = torch.load(run.folder / "fold0" / "model.pt", weights_only=True)
    for key, value in first.items():
        torch.testing.assert_close(last[key], value.to(last[key].dtype), rtol=1e-3, atol=1e-4)
    exported = run.folder / "fold0" / "bundle" / "configs"
    assert {"train.json", "more.json"} <= {path.name for path in exported.iterdir()}


def test_a_run_from_before_there_were_others_is_of_train(store: Path, small):
    run = create_run(BUNDLE, store / "runs", overrides=small, name="old")
    content = json.loads((run.folder / "run.json").read_text())
    assert content.pop("training") == "train"
    (run.folder / "run.json").write_text(json.dumps(content))
    assert open_run(run.folder) == run


@pytest.mark.parametrize("name", ["mor", "inference", "metadata", "extra"])
def test_what_is_no_training_config_is_refused_with_those_that_are(
    twofold: Path, store: Path, small, name: str
):
    (twofold / "configs" / "extra.json").write_text('{"train": "no trainer"}')
    with pytest.raises(UsageError, match=f"expected one of its training configs, train, more, got '{name}'"):
        create_run(twofold, store / "runs", overrides=small, training=name)
    assert not (store / "runs").exists()


def test_weights_to_begin_with_that_the_bundle_lacks_are_told_before_a_run_is_made(
    twofold: Path, store: Path
):
    (twofold / "models" / "model.pt").unlink()
    with pytest.raises(
        UsageError, match=r"initial_weights: expected a file of weights, got none at .*own.*model\.pt"
    ):
        create_run(twofold, store / "runs", overrides={}, training="more")
    assert not (store / "runs").exists()


def test_fold_names():
    assert [fold_name(fold) for fold in (0, 3, None)] == ["fold0", "fold3", "all"]
