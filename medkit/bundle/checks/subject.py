"""The bundle under check: its files, configs and parts, each read or built once."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import nn

from medkit.bundle.checks.parts import Parts
from medkit.bundle.instance import read_config
from medkit.bundle.store import BundleFolder, bundles_root
from medkit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CONFIG_SUFFIXES", "Subject"]

CONFIG_SUFFIXES = (".json", ".yaml", ".yml")


class Subject:
    """What the checks share.

    Args:
        folder: the bundle.
        scratch: an empty folder; what the configs write while they are built goes there.
    """

    def __init__(self, folder: BundleFolder, scratch: Path) -> None:
        self.folder, self.scratch = folder, scratch

    @property
    def own(self) -> bool:
        """Whether it is one of medkit's own bundles, which promise more."""
        return self.folder.root.parent == bundles_root().resolve()

    @property
    def kinds(self) -> list[str]:
        """The configs that stand alone: inference always, and those of trainings."""
        return ["inference", *self.folder.training_configs]

    def config_files(self) -> list[Path]:
        """All configs, metadata included, by name."""
        return sorted(path for path in self.folder.configs.glob("*") if path.suffix in CONFIG_SUFFIXES)

    def where(self, kind: str) -> str:
        """A config's path in the bundle, for messages."""
        return self.folder.config_path(kind).relative_to(self.folder.root).as_posix()

    def config(self, kind: str) -> dict[str, Any]:
        """A config as it is written.

        Raises:
            UsageError: it is missing or cannot be read.
        """
        return read_config(self.folder, kind)

    @cached_property
    def inference(self) -> Parts:
        """The inference config with its parts, built as far as they can be without data."""
        return Parts(self.folder, "inference", self.scratch)

    @cached_property
    def trainings(self) -> dict[str, Parts]:
        """The training configs with their parts, built as far as they can be without data."""
        return {kind: Parts(self.folder, kind, self.scratch) for kind in self.folder.training_configs}

    @cached_property
    def network(self) -> nn.Module:
        """The network that the inference config defines, untrained, on the CPU, in evaluation mode.

        Raises:
            UsageError: it cannot be built, or is no network.
        """
        network = self.inference.instance.build("network_def")
        if not isinstance(network, nn.Module):
            raise UsageError(
                f"{self.where('inference')}: 'network_def': expected a torch.nn.Module, "
                f"got {type(network).__name__}; let its _target_ name a network"
            )
        return network.cpu().eval()

    def tensor_format(self, side: str, name: str) -> dict[str, Any]:
        """What the metadata declare of a tensor.

        Args:
            side: ``inputs`` or ``outputs``.
            name: ``image`` or ``pred``.

        Raises:
            UsageError: they say nothing of it.
        """
        node: Any = self.folder.metadata
        for key in ("network_data_format", side, name):
            node = node.get(key) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise UsageError(
                f"configs/metadata.json: expected an object network_data_format::{side}::{name}, got none; "
                "clients read channels, sizes and labels there"
            )
        if lacking := [key for key in ("num_channels", "spatial_shape", "dtype") if key not in node]:
            place = f"network_data_format::{side}::{name}"
            raise UsageError(
                f"configs/metadata.json: {place} lacks {', '.join(lacking)}; clients read it there"
            )
        return node
