"""Figures of benchmarks: they go with the weights they were measured on, into metadata and card."""

from __future__ import annotations

import json

import pytest

from medkit.bundle.card import render_card
from medkit.bundle.evaluation import EVALUATION_FILE, read_evaluation, write_evaluation
from medkit.bundle.metadata import render_metadata
from medkit.bundle.store import weights_in_use
from medkit.errors import UsageError


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    return path


def test_figures_are_read_as_they_were_written(tmp_path, weights):
    write_evaluation(tmp_path, [weights], {"Dice": 0.8}, "### Heads\n")
    found = read_evaluation(tmp_path, [weights])
    assert (found["metrics"], found["text"]) == ({"Dice": 0.8}, "### Heads\n")


def test_there_need_not_be_any(tmp_path, weights):
    assert read_evaluation(tmp_path, [weights]) is None


def test_figures_of_other_weights_are_refused(tmp_path, weights):
    write_evaluation(tmp_path, [weights], {"Dice": 0.8}, "")
    weights.write_bytes(b"others")
    with pytest.raises(
        UsageError, match=r"expected figures of .*model\.pt, got those of weights that hash to"
    ):
        read_evaluation(tmp_path, [weights])
    weights.unlink()
    with pytest.raises(UsageError, match="measure again with the script that 'scored_by' names"):
        read_evaluation(tmp_path, [weights])


def test_figures_go_with_the_weights_of_a_bundle_that_it_loads(tmp_path, weights):
    lent = tmp_path / "bundles" / "finder" / "models" / "model.pt"
    lent.parent.mkdir(parents=True)
    lent.write_bytes(b"finds")
    (lent.parents[1] / "configs").mkdir()
    (lent.parents[1] / "configs" / "metadata.json").write_text("{}")
    config = {"finder": {"_target_": "medkit.inference.loading.load_bundle", "bundle": str(lent.parents[1])}}
    used = weights_in_use(weights, config)
    assert used == [weights, lent]
    write_evaluation(tmp_path, used, {"Dice": 0.8}, "")
    assert read_evaluation(tmp_path, used)
    lent.write_bytes(b"finds something else")
    with pytest.raises(UsageError, match=r"expected figures of .* and .*finder/models/model\.pt, got those"):
        read_evaluation(tmp_path, used)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"weights_sha256": "a", "metrics": [], "text": ""}', "{"], ids=repr
)
def test_a_damaged_file_is_refused(tmp_path, weights, content):
    (tmp_path / EVALUATION_FILE).write_text(content)
    with pytest.raises(UsageError, match=r"evaluation\.json: expected the figures of a benchmark"):
        read_evaluation(tmp_path, [weights])


def test_a_figure_that_is_none_is_never_written(tmp_path, weights):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_evaluation(tmp_path, [weights], {"Dice": float("nan")}, "")
    assert not (tmp_path / EVALUATION_FILE).exists()


def test_they_reach_metadata_and_card(tmp_path, weights):
    write_evaluation(tmp_path, [weights], {"Dice": 0.8}, "### Heads\n\nwell")
    evaluation = read_evaluation(tmp_path, [weights])
    versions = {"monai": "1", "torch": "2", "numpy": "2"}
    written = {"version": "1", "changelog": {}, "versions": versions, "scored_by": "benchmarks/x.py"}
    metadata = render_metadata(written, {"training": {}}, evaluation)
    assert metadata["evaluation"] == {
        "weights_sha256": json.loads((tmp_path / EVALUATION_FILE).read_text())["weights_sha256"],
        "metrics": {"Dice": 0.8},
    }
    assert "cross_validation" not in metadata
    template = tmp_path / "card.md.j2"
    template.write_text("{{ evaluation.text }}, says {{ metadata.scored_by }}")
    assert render_card(template, "x", metadata, None, evaluation) == "### Heads\n\nwell, says benchmarks/x.py"
