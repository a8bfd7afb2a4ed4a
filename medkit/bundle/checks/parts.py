"""Build every part of a config without its data.

Data sets get empty lists, by name. Other expressions that read the data folder are tried on an empty one;
those that then miss their data give an empty list too, and all that was stood in for is told.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from monai.bundle import ConfigComponent, ConfigExpression, ConfigParser, ReferenceResolver

from medkit.bundle.instance import ConfigInstance, one_line, read_config, root_cause
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from medkit.bundle.store import BundleFolder

__all__ = ["STEPS", "Parts", "walk"]

# Lists of what to do. They are emptied, as a part that refers to one would run the bundle.
STEPS = ("initialize", "run", "finalize")
_DATASET = "dataset_dir"
_FOLDERS = ("run_dir", "output_dir", "ckpt_dir")
# Building it would open a run in the tracking store.
_LOGGER = "train::trainer::logger"
# The bundle's own, perhaps: whether it has any is for another check to tell.
_FIRST_WEIGHTS = "initial_weights"
# What an expression raises for want of data; what a misspelt name raises is left for the build to tell.
_LACK_OF_DATA = (UsageError, OSError, ValueError, IndexError, ZeroDivisionError)


def walk(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a config with its key path, containers before what they hold."""
    yield path, node
    if isinstance(node, (dict, list)):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from walk(value, f"{path}::{key}" if path else str(key))


class Parts:
    """A config and what becomes of its parts.

    Args:
        folder: the bundle.
        kind: ``inference`` or ``train``.
        scratch: an empty folder that stands in for the data and for all folders that are written to.
    """

    def __init__(self, folder: BundleFolder, kind: str, scratch: Path) -> None:
        self.folder, self.kind, self.scratch = folder, kind, scratch
        self._nodes = dict(walk(read_config(folder, kind)))

    def __contains__(self, key: str) -> bool:
        return key in self._nodes

    @cached_property
    def instance(self) -> ConfigInstance:
        """The config with stand-ins for its data."""
        return self._with(self._places | self._empty | self._tried)

    def _with(self, stand_ins: dict[str, Any]) -> ConfigInstance:
        instance = ConfigInstance(self.folder, self.kind, {})
        instance.parser.update(stand_ins)
        return instance

    @property
    def stood_in(self) -> list[str]:
        """The keys that an empty list stands in for."""
        return [key for key, value in (self._tried | self._empty).items() if value == []]

    @property
    def failures(self) -> dict[str, str]:
        """Key path of each part that cannot be built for a fault of its own, with the reason."""
        failed = self._outcomes[1]
        return {key: reason for key, reason in failed.items() if not self._reaches(key, set(failed))}

    @property
    def built(self) -> dict[str, Any]:
        """Key path of each component and expression to what became of it."""
        return self._outcomes[0]

    @cached_property
    def _outcomes(self) -> tuple[dict[str, Any], dict[str, str]]:
        built: dict[str, Any] = {}
        failed: dict[str, str] = {}
        for key in self._buildable():
            try:
                built[key] = self.instance.build(key)
            except UsageError as error:
                failed[key] = str(error)
        return built, failed

    def _buildable(self) -> list[str]:
        try:
            self.instance.parser.parse(reset=True)
        except Exception as error:
            reason = one_line(root_cause(error))
            raise UsageError(f"{self.instance.path}: cannot be parsed: {reason}; see 'references'") from error
        items = self.instance.parser.ref_resolver.items
        left_out = _references(self._nodes.get(_LOGGER), _LOGGER) | {ConfigParser.meta_key}
        return [
            key
            for key, item in items.items()
            if isinstance(item, (ConfigComponent, ConfigExpression)) and not _inside(key, left_out)
        ]

    def _reaches(self, key: str, failed: set[str]) -> bool:
        """Whether a part refers to a failed one, however far around."""
        seen, ahead = {key}, [key]
        while ahead:
            here = ahead.pop()
            following = _references(self.instance.parser.get(here), here) - seen
            if following & failed:
                return True
            seen |= following
            ahead += following
        return False

    @cached_property
    def _places(self) -> dict[str, Any]:
        """Overrides that let nothing run and keep the check on the CPU, in its folder, out of tracking."""
        places: dict[str, Any] = {
            **{step: [] for step in STEPS},
            "device": "$torch.device('cpu')",
            _FIRST_WEIGHTS: None,
            **{name: str(self.scratch) for name in (*self._datasets, *_FOLDERS)},
            _LOGGER: False,
        }
        return {key: value for key, value in places.items() if key in self._nodes}

    @property
    def _datasets(self) -> list[str]:
        """The keys that say where data lie: ``dataset_dir``, and others that end so."""
        return [key for key in self._nodes if key.endswith(_DATASET) and "::" not in key]

    @cached_property
    def _empty(self) -> dict[str, Any]:
        """Empty lists for the data sets, and no shuffling: that of nothing is refused by PyTorch."""
        empty: dict[str, Any] = {}
        for path, node in self._nodes.items():
            if isinstance(node, dict) and "_target_" in node and not _in_list(path):
                if "data" in node and _is_dataset(path, node["_target_"]):
                    empty[f"{path}::data"] = []
                if "dataset" in node and "shuffle" in node:
                    empty[f"{path}::shuffle"] = False
        return empty

    @cached_property
    def _tried(self) -> dict[str, Any]:
        """Empty lists for other expressions that need the data, found by trying them without."""
        trial = self._with(self._places | self._empty)
        missing: dict[str, Any] = {}
        for key in self._on_data():
            try:
                trial.build(key)
            except UsageError as error:
                if isinstance(root_cause(error.__cause__ or error), _LACK_OF_DATA):
                    missing[key] = []
        return missing

    def _on_data(self) -> list[str]:
        """Expressions outside of lists that depend on the data folder, however far around."""
        texts = {
            path: _references(node, path)
            for path, node in self._nodes.items()
            if isinstance(node, str) and not _inside(path, STEPS) and path not in self._empty
        }
        reached, found = set(self._datasets), set(self._datasets)
        while found:
            found = {path for path in texts.keys() - reached if any(_inside_any(texts[path], reached))}
            reached |= found
        return [path for path in self._nodes if path in reached and self._can_be_tried(path)]

    def _can_be_tried(self, path: str) -> bool:
        return path not in self._datasets and self._nodes[path].startswith("$") and not _in_list(path)


def _is_dataset(path: str, target: Any) -> bool:
    return path.split("::")[-1].endswith("dataset") or str(target).endswith("Dataset")


def _in_list(path: str) -> bool:
    return any(name.isdigit() for name in path.split("::"))


def _inside(path: str, places: Iterable[str]) -> bool:
    return any(path == place or path.startswith(f"{place}::") for place in places)


def _inside_any(references: set[str], reached: set[str]) -> Iterator[bool]:
    """Whether each reference points into what was reached, or at something that holds it."""
    for reference in references:
        yield _inside(reference, reached) or any(_inside(path, [reference]) for path in reached)


def _references(node: Any, path: str) -> set[str]:
    return set(ReferenceResolver.find_refs_in_config(node, path))
