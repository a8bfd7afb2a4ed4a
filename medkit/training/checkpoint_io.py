"""Write checkpoints whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from medkit.data.writing import replacing

__all__ = ["WholeCheckpointIO"]


class WholeCheckpointIO(TorchCheckpointIO):
    """Lightning's, which moves a finished file from the folder of temporary files: a copy where that is another disk.

    The one checkpoint of a run would then be lost with the process that is killed while it copies.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write beside the old checkpoint, then take its place."""
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)
