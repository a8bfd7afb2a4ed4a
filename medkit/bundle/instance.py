"""Bring a bundle to life: parse its inference config and build its parts, with its own code kept its own."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medkit.bundle.overrides import apply_overrides, hint_at_whole_components
from medkit.bundle.store import BundleFolder
from medkit.errors import MedkitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

    from monai.bundle import ConfigParser
    from torch import nn

__all__ = [
    *("ConfigInstance", "note_bundle", "one_line", "own_code"),
    *("read_config", "read_config_file", "root_cause"),
]

# A bundle's modules between uses: what it imports late must be what it imported before.
_kept: dict[str, dict[str, ModuleType]] = {}
# Whose parts are being built: other bundles may be loaded for them.
_building: ContextVar[ConfigInstance | None] = ContextVar("building", default=None)


@contextmanager
def own_code(root: Path) -> Iterator[None]:
    """Let imports find the bundle's own ``scripts/``, and put them out of sight afterwards.

    Two bundles, or a bundle and the program that runs it, may both have a ``scripts`` package; Python would
    give the second one the first one's code. What the program itself imported from the bundle's folder (as the
    tests of a bundle do) stays its own: a class imported twice is two classes.
    """
    place = str(root)
    if sys.path[:1] == [place]:
        yield
        return
    others = _take_out(name for name in _loaded_names(root) if not _lies_in(place, name))
    shared = {_top(name) for name in _loaded_names(root)}
    sys.modules.update(
        {name: module for name, module in _kept.get(place, {}).items() if _top(name) not in shared}
    )
    sys.path.insert(0, place)
    try:
        yield
    finally:
        sys.path.remove(place)
        _kept[place] = _take_out(
            name for name in _loaded_names(root) if _lies_in(place, name) and _top(name) not in shared
        )
        sys.modules.update(others)


def _take_out(names: Iterable[str]) -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in list(names)}


def _loaded_names(root: Path) -> list[str]:
    """Loaded modules called like something in the bundle's folder that could be imported."""
    entries = [entry for entry in root.iterdir() if entry.stem in sys.modules]
    tops = {entry.stem for entry in entries if entry.suffix == ".py" or any(entry.glob("*.py"))} - {"medkit"}
    return [name for name in sys.modules if _top(name) in tops] if tops else []


def _top(name: str) -> str:
    return name.partition(".")[0]


def _lies_in(root: str, name: str) -> bool:
    """Whether a loaded module was found through ``root``."""
    top = _top(name)
    attributes = vars(sys.modules[name])
    spec = attributes.get("__spec__")
    # A package without __init__.py has a search path, but no file.
    places = [attributes.get("__file__"), *(getattr(spec, "submodule_search_locations", None) or [])]
    return any(place == f"{root}/{top}.py" or f"{place}/".startswith(f"{root}/{top}/") for place in places)


def read_config(folder: BundleFolder, kind: str) -> dict[str, Any]:
    """A bundle's config as a dictionary, unresolved.

    Raises:
        UsageError: no such config, or it cannot be read.
    """
    return read_config_file(folder.config_path(kind))


def read_config_file(path: Path) -> dict[str, Any]:
    """A config file, JSON or YAML, as a dictionary, unresolved.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    from monai.bundle import ConfigParser

    try:
        content = ConfigParser.load_config_file(path)
    except Exception as error:  # whatever a YAML or JSON parser raises
        raise UsageError(f"{path}: cannot be read ({one_line(root_cause(error))})") from error
    if not isinstance(content, dict):
        raise UsageError(
            f"{path}: expected an object of named parts at the top, got {type(content).__name__}"
        )
    return content


class ConfigInstance:
    """A parsed config whose parts are built when asked for.

    Args:
        folder: the bundle.
        kind: ``inference`` or ``train``.
        overrides: checked changes, key path to value.

    Attributes:
        checkpoints: files that weights were loaded from, in that order.
        bundles: that were loaded while parts were built, however the config asked for them, and the digest of each.
    """

    def __init__(self, folder: BundleFolder, kind: str, overrides: dict[str, Any]) -> None:
        from monai.bundle import ConfigParser

        self.folder, self.path = folder, folder.config_path(kind)
        config = read_config(folder, kind)
        config["bundle_root"] = str(folder.root)
        apply_overrides(config, overrides, f"{folder.name}/configs/{self.path.name}")
        self.parser: ConfigParser = ConfigParser(config)
        self.parser.read_meta(str(folder.config_path("metadata")))
        self.checkpoints: list[Path] = []
        self.bundles: list[tuple[BundleFolder, str]] = []
        self._hint = hint_at_whole_components(overrides)

    def __contains__(self, key: str) -> bool:
        return key in self.parser

    def build(self, key: str) -> Any:
        """Build the part under ``key`` with all it refers to.

        Raises:
            UsageError: the key is missing or its definition fails; names the key and the cause.
        """
        if key not in self.parser:
            raise UsageError(f"{self.path}: the config has no '{key}'")
        try:
            return self._evaluate(key)
        except Exception as error:
            cause = root_cause(error)
            if isinstance(cause, UsageError):
                raise cause from error
            raise UsageError(
                f"{self.path}: '{key}' cannot be built: {type(cause).__name__}: {one_line(cause)}{self._hint}"
            ) from error

    def _evaluate(self, key: str) -> Any:
        token = _building.set(self)
        try:
            with own_code(self.folder.root):
                return self.parser.get_parsed_content(key)
        finally:
            _building.reset(token)

    def run(self, key: str) -> None:
        """Evaluate a list of expressions such as ``initialize``; a missing one is no fault.

        Raises:
            UsageError: a part that a step refers to cannot be built.
            Exception: whatever a step itself raises, with its traceback: a crash in the middle of a training is
                no mistake in the config.
        """
        if key not in self.parser:
            return
        # MONAI makes references absolute when it builds its first part.
        self.build("bundle_root")
        steps = self.parser[key]
        count = len(steps) if isinstance(steps, list) else None
        for step in [key] if count is None else [f"{key}::{number}" for number in range(count)]:
            for part in self.parser.ref_resolver.find_refs_in_config(config=self.parser[step], id=step):
                self.build(part)
            try:
                self._evaluate(step)
            except Exception as error:
                cause = root_cause(error)
                if isinstance(cause, MedkitError):
                    raise cause from error
                raise

    def network_with_weights(self, weights: Path | None = None) -> nn.Module:
        """The network on its device, in evaluation mode, with the weights its own config loads, or others.

        Args:
            weights: file to load in the place of the bundle's own. It is the same network each time, so that of
                several files the last one holds.

        Raises:
            UsageError: there are no weights, they do not fit the network, or the bundle loads several files.
        """
        from ignite.engine import Engine

        network: nn.Module = self.build("network" if "network" in self else "network_def")
        loaders = self._weight_loaders()
        if weights is not None:
            if len(loaders) > 1:
                raise UsageError(
                    f"{self.path}: expected one CheckpointLoader, to load {weights} in the place of its file, got "
                    f"{len(loaders)}; leave other weights out"
                )
            loaders[0].load_path = str(weights)
        for loader in loaders:
            if loader.map_location is None:
                # Weights saved on a GPU, and a config that forgets that others have none.
                loader.map_location = next((p.device for p in network.parameters()), None)
            try:
                loader(Engine(lambda engine, batch: None))
            except FileNotFoundError as error:
                raise UsageError(
                    f"{self.folder.root}: the weights are missing: {loader.load_path}"
                ) from error
            except Exception as error:
                reason = one_line(root_cause(error))
                if not _is_checkpoint(loader.load_path):
                    raise UsageError(
                        f"{loader.load_path}: expected a checkpoint that torch.load reads with weights_only=True, "
                        f"got something else ({reason})"
                    ) from error
                raise UsageError(
                    f"{loader.load_path}: the weights do not fit the network: {reason}"
                ) from error
            self.checkpoints.append(Path(loader.load_path))
        return network.eval()

    def _weight_loaders(self) -> list[Any]:
        from monai.handlers import CheckpointLoader

        key = "checkpointloader" if "checkpointloader" in self else "handlers"
        built = self.build(key) if key in self else []
        handlers = built if isinstance(built, list) else [built]
        loaders = [handler for handler in handlers if isinstance(handler, CheckpointLoader)]
        if not loaders:
            raise UsageError(
                f"{self.path}: neither 'checkpointloader' nor 'handlers' loads weights into the network"
            )
        return loaders


def note_bundle(folder: BundleFolder, digest: str) -> None:
    """Tell whichever config is being built, if any, that a bundle was loaded for it."""
    if outer := _building.get():
        outer.bundles.append((folder, digest))


def _is_checkpoint(path: str) -> bool:
    import torch

    try:
        torch.load(path, map_location="meta", weights_only=True)
    except Exception:  # whatever a damaged or a foreign file provokes
        return False
    return True


def root_cause(error: BaseException) -> BaseException:
    """The innermost error, as MONAI wraps one in another at every level; medkit's own ends the search."""
    while not isinstance(error, MedkitError):
        inner = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if inner is None:
            break
        error = inner
    return error


def one_line(error: BaseException, limit: int = 300) -> str:
    """What an error says, in one line: its first, and the second where the first only announces it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    text = " ".join(lines[: 2 if lines[0].endswith(":") else 1])
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
