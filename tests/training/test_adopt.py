import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import medkit
from medkit.bundle import build
from medkit.bundle.check import check_bundle
from medkit.bundle.evaluation import EVALUATION_FILE, write_evaluation
from medkit.bundle.instance import ConfigInstance
from medkit.bundle.store import BundleFolder, find_bundle
from medkit.data.hashing import hash_files
from medkit.errors import UsageError
from medkit.training.adopt import (
    _temperature,
    adopt,
    check_belong_together,
    half_precision,
    interval_options,
)
from medkit.training.run import TrainingRun, create_run
from medkit.training.score_summary import summarise_scores
from tests.training.test_score_summary import row

BUNDLE = "hippocampus_segmentation_unet"
NETWORK, LABELS = f"{BUNDLE}/network.yaml", "shared/hippocampus/labels.yaml"


def test_missed_structure_reaches_the_card(project: Path):
    source = project / "configs" / BUNDLE
    record = json.loads((Path(__file__).parents[2] / "configs" / BUNDLE / "record.json").read_text())
    rows = [row("a", "front", 0.0, "inf"), row("b", "front", 0.9, 2.0)]
    record["cross_validation"]["summary"] = summarise_scores(rows)
    card = build.bundle_text(source, record)["docs/README.md"]
    assert "2.00 ± - (and 1 infinite) | infinite (a)" in card


def test_nothing_is_replaced_by_a_run_whose_card_cannot_be_written(project: Path, small, monkeypatch):
    overrides = {**small, "epochs": 1}
    run = create_run(BUNDLE, project / "runs", overrides=overrides, name="cv", cross_validate=True)
    run.train()
    (project / "configs" / "shared" / "card.md.j2").write_text("{{ record.nothing }}")
    with pytest.raises(UsageError, match=r"the card of .* cannot be written"):
        adopt(run.folder)
    assert not (project / "configs" / BUNDLE / "record.json").exists()
    assert not (project / "bundles").exists()


def test_networks_of_other_data_or_settings_do_not_belong_together():
    records = [
        {"bundle": "b", "versions": {}, "parameters": 1, "steps": 2, "precision": "32", "data_sha256": {"a": "1"},
         "settings": {"seed": 1, "train_folds": [fold]}, "test_cases": [], "train_cases": []}
        for fold in (0, 1)
    ]  # fmt: skip
    check_belong_together(records)
    for key, value in (("data_sha256", {"a": "2"}), ("settings", {"seed": 2, "train_folds": [1]})):
        with pytest.raises(UsageError, match=f"differ in '{key}'"):
            check_belong_together([records[0], {**records[1], key: value}])


def test_weights_are_halved_and_counters_kept():
    stored = half_precision({"w": torch.tensor([1.0, 2.5]), "n": torch.tensor(3)})
    assert stored["w"].dtype == torch.float16
    assert torch.equal(stored["n"], torch.tensor(3))


def test_equal_weights_are_stored_once(tmp_path: Path):
    block = torch.randn(100_000)
    torch.save(half_precision({"block": block, "again": block.clone()}), tmp_path / "model.pt")
    assert (tmp_path / "model.pt").stat().st_size < 1.1 * 2 * block.numel()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_weights_that_float16_cannot_hold_are_refused(value: float):
    with pytest.raises(UsageError, match="weight 'w' holds NaN, infinity or a value beyond float16"):
        half_precision({"w": torch.tensor([value])})


@pytest.fixture
def project(tmp_path: Path, monkeypatch, small):
    """A copy of the bundle's sources to adopt into, with a small network, so that the project's own stay as they are."""
    import shutil

    import medkit.training.adopt as module

    shutil.copytree(build.sources_root(), tmp_path / "configs")
    (tmp_path / "configs" / BUNDLE / "record.json").unlink(missing_ok=True)
    network, labels = (tmp_path / "configs" / name for name in (NETWORK, LABELS))
    network.write_text(network.read_text().replace("[16, 32, 64, 128]", str(small["network_def::filters"])))
    labels.write_text(labels.read_text().replace("[40, 56, 40]", str(small["patch_size"])))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    for target in (build, module):
        monkeypatch.setattr(target, "bundles_root", lambda: tmp_path / "bundles")
    monkeypatch.setattr(module, "sources_root", lambda: tmp_path / "configs")
    return tmp_path


def test_cross_validated_run_is_adopted(project: Path, small):
    run = create_run(
        BUNDLE, project / "runs", overrides={**small, "epochs": 1}, name="cv", cross_validate=True
    )
    with pytest.raises(
        UsageError, match=r"not finished \(fold0, fold1, fold2, all\); go on with --resume cv"
    ):
        adopt(run.folder)
    run.train()
    assert adopt(run.folder)[0].startswith("Dice    0.")
    path = project / "bundles" / BUNDLE / "models" / "model.pt"
    first = path.read_bytes()
    assert "before: 0." in adopt(run.folder)[0]
    assert path.read_bytes() == first
    record = json.loads((project / "configs" / BUNDLE / "record.json").read_text())
    assert [fold["fold"] for fold in record["cross_validation"]["folds"]] == [0, 1, 2]
    assert len(record["cross_validation"]["scores"]) == 6 * 2
    assert record["training"]["cases"] == 6
    assert len(record["cross_validation"]["data_sha256"]) == 12
    weights = torch.load(path, weights_only=True)
    trained = torch.load(run.folder / "all" / "model.pt", weights_only=True)
    assert all(torch.equal(weights[name], trained[name].half()) for name in trained)
    metadata = json.loads((project / "bundles" / BUNDLE / "configs" / "metadata.json").read_text())
    assert metadata["training"]["mlflow_run_id"] == record["training"]["mlflow_run_id"]
    assert "mean over labels" in metadata["cross_validation"]
    assert record["calibration"] == metadata["calibration"]
    assert record["calibration"]["temperature"] > 0
    assert record["volume_intervals"] == metadata["volume_intervals"]
    whole = record["volume_intervals"]["structures"]["whole hippocampus"]
    assert whole["groups"] <= 3, "pairs of six cases"
    assert whole["coverage"] is None, "too few to tell"
    made = check_bundle(BundleFolder(project / "bundles" / BUNDLE))
    assert [found.problem for found in made if found.problem] == []
    nothing_is_replaced_by_what_does_not_belong(run, project)
    a_copy_has_all_of_the_run(run, project, record)


def files_of(project: Path) -> dict[Path, bytes]:
    folders = (project / "configs", project / "bundles")
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


def nothing_is_replaced_by_what_does_not_belong(run: TrainingRun, project: Path) -> None:
    before, source = files_of(project), project / "configs" / BUNDLE
    wider = (project / "configs" / NETWORK).read_text()
    (project / "configs" / NETWORK).write_text(wider.replace("[4, 8, 8, 8]", "[8, 8, 8, 8]"))
    with pytest.raises(
        UsageError, match=r"with the bundle's: network_def::filters: \[4, 8, 8, 8\] and \[8, 8, 8, 8\]\. "
    ):
        adopt(run.folder)
    (project / "configs" / NETWORK).write_text(wider)
    adopted = (source / "record.json").read_text()
    data = json.loads(adopted)["training"]["data_sha256"]
    (source / "record.json").write_text(adopted.replace(data, "0" * 64))
    with pytest.raises(
        UsageError, match=r"run on the 6 cases that .* learned from, got one on other data \(6 cases\)"
    ):
        adopt(run.folder)
    adopt(run.folder, other_data=True)
    metadata = source / "metadata.yaml"
    told = metadata.read_text()
    metadata.write_text(told.replace("changelog:\n  0.1.0", "changelog:\n  0.0.9"))
    with pytest.raises(
        UsageError, match=r"expected a bundle that passes its check, got .*0\.1\.0.*nothing was replaced"
    ):
        adopt(run.folder)
    metadata.write_text(told)
    assert files_of(project) == before


def a_copy_has_all_of_the_run(run: TrainingRun, project: Path, record: dict[str, Any]) -> None:
    before, copy = files_of(project), project / "copies" / "mine"
    (project / "configs" / NETWORK).write_bytes(b"network_def: {_target_: UNet}")
    assert adopt(run.folder, copy)[-1] == f"bundle  {copy}; {BUNDLE} stays as it is"
    (project / "configs" / NETWORK).write_bytes(before[project / "configs" / NETWORK])
    assert files_of(project) == before
    told = BundleFolder(copy).metadata
    assert told["calibration"] == record["calibration"]
    assert told["cross_validation"] == record["cross_validation"]["summary"]
    assert medkit.load(copy).calibration["applied"]
    with pytest.raises(UsageError, match="mine: expected a folder that is to be made, got one that exists"):
        adopt(run.folder, copy)


def test_a_temperature_at_the_end_of_the_range_is_remarked_on():
    assert _temperature(1.234) == "1.23"
    assert _temperature(9.9999).startswith("10.00, an end of the range that is searched: ")
    assert _temperature(0.1).startswith("0.10, an end of the range")


def test_a_misspelt_wish_for_intervals_is_refused(project: Path):
    path = project / "configs" / "shared" / "hippocampus" / "metadata.yaml"
    path.write_text(path.read_text().replace("cases_per_group", "cases_per_scan"))
    with pytest.raises(UsageError, match=r"expected cases_per_group and sum_of_all .* got cases_per_scan"):
        interval_options(project / "configs" / BUNDLE)


@pytest.fixture
def scored_elsewhere(project: Path) -> Path:
    """The project with a bundle that a benchmark measures."""
    path = project / "configs" / BUNDLE / "metadata.yaml"
    path.write_text(path.read_text() + "scored_by: benchmarks/heads.py\n")
    return project


def card(bundle: Path) -> str:
    return (bundle / "docs" / "README.md").read_text()


def test_a_network_that_a_benchmark_measures_is_adopted_itself(scored_elsewhere: Path, small):
    source, bundle = scored_elsewhere / "configs" / BUNDLE, scored_elsewhere / "bundles" / BUNDLE
    first = scored_elsewhere / "first.pt"
    torch.save(ConfigInstance(find_bundle(BUNDLE), "train", small).build("network").state_dict(), first)
    begun = {**small, "epochs": 1, "initial_weights": str(first)}
    run = create_run(BUNDLE, scored_elsewhere / "runs", overrides=begun, held_out=[1])
    run.train()
    (source / EVALUATION_FILE).write_text("of weights that go now")
    (bundle / "docs").mkdir(parents=True, exist_ok=True)
    (bundle / "docs" / "head.png").write_text("by weights that go now")
    assert adopt(run.folder)[0] == "figures none yet; measure them with benchmarks/heads.py"
    assert not (source / EVALUATION_FILE).exists()
    assert not (bundle / "docs" / "head.png").exists()
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    trained = torch.load(run.folder / "fold1" / "model.pt", weights_only=True)
    assert all(torch.equal(weights[name], trained[name].half()) for name in trained)
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["training"]["cases"] == 4
    assert metadata["training"]["settings"]["initial_weights"] == hash_files([first])
    assert str(first) not in json.dumps(metadata)
    assert f"an earlier training; their file's SHA-256 is {hash_files([first])}" in card(bundle)
    assert len(metadata["training"]["held_out"]) == 2
    assert "cross_validation" not in metadata
    assert "earlier" not in metadata["training"]
    assert "`benchmarks/heads.py` does that" in card(bundle)
    write_evaluation(source, [bundle / "models" / "model.pt"], {"Dice": 0.5}, "### On heads\n\nDice 0.5.")
    build.write_bundle(source)
    assert "### On heads\n\nDice 0.5." in card(bundle)
    assert json.loads((bundle / "configs" / "metadata.json").read_text())["evaluation"]["metrics"] == {
        "Dice": 0.5
    }


def test_a_network_of_all_cases_has_none_to_be_measured_with(scored_elsewhere: Path, small):
    run = create_run(BUNDLE, scored_elsewhere / "runs", overrides=small)
    with pytest.raises(
        UsageError, match=r"heads.py measures with cases that were held out, .* train with --fold"
    ):
        adopt(run.folder)


def test_a_training_that_begins_with_the_bundle_knows_how_that_was_trained(scored_elsewhere: Path, small):
    bundle, overrides = scored_elsewhere / "bundles" / BUNDLE, {**small, "epochs": 1}
    first = create_run(BUNDLE, scored_elsewhere / "runs", overrides=overrides, name="first", held_out=[1])
    first.train()
    adopt(first.folder)
    shutil.rmtree(first.folder)
    overrides["initial_weights"] = str(bundle / "models" / "model.pt")
    second = create_run(BUNDLE, scored_elsewhere / "runs", overrides=overrides, name="second", held_out=[1])
    third = create_run(BUNDLE, scored_elsewhere / "runs", overrides=overrides, name="third", held_out=[0])
    for run in (second, third):
        run.train()
    for _ in range(2):  # the first time puts others in the place of the weights that both began with
        adopt(second.folder)
    with pytest.raises(UsageError, match=r"of run first, which learned from phantom_1, phantom_2"):
        adopt(third.folder)
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert [(one["run"], one["steps"]) for one in metadata["training"]["earlier"]] == [("first", 4)]


def test_how_long_earlier_trainings_lasted_is_in_the_card(scored_elsewhere: Path, small):
    bundle, weights = scored_elsewhere / "bundles" / BUNDLE, None
    for name, epochs in (("first", 1), ("second", 2), ("third", 1)):
        begun = {**small, "epochs": epochs, **({"initial_weights": str(weights)} if weights else {})}
        run = create_run(BUNDLE, scored_elsewhere / "runs", overrides=begun, name=name, held_out=[1])
        run.train()
        weights = run.folder / "fold1" / "model.pt"
    adopt(run.folder)
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    earlier = metadata["training"]["earlier"]
    assert [(one["run"], one["steps"]) for one in earlier] == [("first", 4), ("second", 8)]
    assert str(scored_elsewhere) not in json.dumps(metadata)
    tracked = ", ".join(one["mlflow_run_id"] for one in earlier)
    text = " ".join(card(bundle).split())
    assert "Before it came 2 trainings, each with the weights of the one before: 12 steps" in text
    assert f"MLflow runs {tracked}." in text


def test_what_an_earlier_training_learned_from_cannot_be_held_out(scored_elsewhere: Path, small):
    short = {**small, "epochs": 1}
    first = create_run(BUNDLE, scored_elsewhere / "runs", overrides=short, name="first", held_out=[0])
    first.train()
    begun = {**short, "initial_weights": str(first.folder / "fold0" / "model.pt")}
    run = create_run(BUNDLE, scored_elsewhere / "runs", overrides=begun, name="second", held_out=[1])
    run.train()
    with pytest.raises(
        UsageError, match=r"of run first, which learned from phantom_3, phantom_4; begin with"
    ):
        adopt(run.folder)


def test_a_run_of_another_config_stays_its_owners(project: Path, small):
    bundle = Path(shutil.copytree(find_bundle(BUNDLE).root, project / "own" / BUNDLE))
    shutil.copy2(bundle / "configs" / "train.json", bundle / "configs" / "fine_tuning.json")
    run = create_run(bundle, project / "runs", overrides=small, name="mine", training="fine_tuning")
    source = project / "configs" / BUNDLE
    before = {path: path.read_bytes() for path in source.iterdir()}
    with pytest.raises(
        UsageError,
        match=r"expected a run of the bundle's train\.json, got one of fine_tuning\.json, .*mine/all",
    ):
        adopt(run.folder)
    assert {path: path.read_bytes() for path in source.iterdir()} == before


def test_folds_of_what_a_benchmark_measures_are_refused(scored_elsewhere: Path, small):
    run = create_run(BUNDLE, scored_elsewhere / "runs", overrides=small, cross_validate=True)
    with pytest.raises(
        UsageError, match=r"heads\.py measures the network that is shipped.*without --cross-validate"
    ):
        adopt(run.folder)


def test_run_without_folds_is_refused(project: Path, small):
    run = create_run(BUNDLE, project / "runs", overrides={**small, "epochs": 1}, name="alone")
    with pytest.raises(UsageError, match="takes a cross-validated run; train with --cross-validate"):
        adopt(run.folder)
