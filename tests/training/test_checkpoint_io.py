from pathlib import Path

import pytest
import torch

from medkit.training.checkpoint_io import WholeCheckpointIO


class Unwritable:
    def __reduce__(self):
        raise OSError("the disk is full")


def test_checkpoint_replaces_the_old_one_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "last.ckpt"
    checkpoints = WholeCheckpointIO()
    checkpoints.save_checkpoint({"epoch": 1}, path)
    with pytest.raises(OSError, match="the disk is full"):
        checkpoints.save_checkpoint({"weights": torch.ones(1000), "epoch": Unwritable()}, path)
    assert checkpoints.load_checkpoint(path) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]
