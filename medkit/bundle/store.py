"""Where bundles lie: in the source tree, in an installed wheel, or in any folder that is named."""

from __future__ import annotations

import difflib
import hashlib
import json
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

__all__ = ["BundleFolder", "bundles_root", "find_bundle", "has_trainer", "list_bundles", "weights_in_use"]

_SUFFIXES = (".json", ".yaml", ".yml")
_LOADERS = (".load_bundle", "medkit.load")  # how targets end that load a bundle
_LANGUAGE = ("@", "$", "%")  # with which values begin that are known only when the config is built
_MOSTLY, _NEAR = (
    0.8,
    0.5,
)  # of a name's letters alone, and of those of the name and a bundle's, that both share
_PACKAGE = Path(__file__).resolve().parents[1]


class BundleFolder:
    """The files of one MONAI bundle.

    Args:
        root: folder that holds ``configs/`` and ``models/``.

    Attributes:
        name: of the folder; of the bundle of a training, ``runs/<bundle>/<run>/<fold>/bundle``, that of bundle, run and
            fold, by which its results are told from those of others.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.name = _name_of(self.root)

    @property
    def configs(self) -> Path:
        """Folder of the configs."""
        return self.root / "configs"

    @property
    def weights(self) -> Path:
        """File of the trained weights."""
        return self.root / "models" / "model.pt"

    def config_path(self, kind: str) -> Path:
        """Path of ``inference``, ``train`` or ``metadata``, as JSON or, in other people's bundles, YAML.

        Raises:
            UsageError: the bundle has no such config.
        """
        candidates = [self.configs / f"{kind}{suffix}" for suffix in _SUFFIXES]
        for path in candidates:
            if path.is_file():
                return path
        raise UsageError(f"{self.root}: the bundle has no configs/{kind}.json")

    @cached_property
    def training_configs(self) -> list[str]:
        """Names of the configs that train its network: ``train``, then others with a trainer, in JSON."""
        known = ("train", "inference", "metadata")
        first = ["train"] if any((self.configs / f"train{suffix}").is_file() for suffix in _SUFFIXES) else []
        others = sorted(path for path in self.configs.glob("*.json") if path.stem not in known)
        return [*first, *(path.stem for path in others if _trains(path))]

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Content of ``configs/metadata.json``."""
        return _read_json(self.config_path("metadata"))

    @property
    def commercial_use(self) -> bool:
        """Whether the terms allow commercial use (the default, unless the metadata says otherwise)."""
        return bool(self.metadata.get("commercial_use", True))

    @property
    def terms(self) -> str:
        """The licence by its SPDX name where the metadata state it, otherwise where it is to be read."""
        stated = str(self.metadata.get("licence_file") or "")
        return stated.upper() or f"see {self.root}/LICENSE"

    @cached_property
    def lacks_weights_of(self) -> str | None:
        """The bundle whose weights are missing: this one, or one that its inference config loads by name, if any."""
        if not self.weights.is_file():
            return self.name
        own = {bundle.name: bundle for bundle in list_bundles()}
        try:
            named = list(_named(self._inference))
        except UsageError:  # whoever loads it tells
            return None
        return next((name for name in named if name in own and not own[name].weights.is_file()), None)

    @cached_property
    def _inference(self) -> dict[str, Any]:
        """The inference config as its file has it; empty where there is none."""
        try:
            path = self.config_path("inference")
        except UsageError:  # whoever loads it tells
            return {}
        if path.suffix == ".json":
            return _read_json(path)
        # Here, for it takes MONAI, whose import is slow and which none of medkit's own bundles needs for this.
        from medkit.bundle.instance import read_config_file

        return read_config_file(path)

    def digest(
        self,
        loaded: Iterable[Path] = (),
        bundles: Iterable[tuple[BundleFolder, str]] = (),
        config: Mapping[str, Any] | None = None,
    ) -> str:
        """SHA-256 over the sorted configs and weights, those of bundles that it loads too: the identity of what runs.

        By its files alone, a bundle that the inference config names by a reference or an expression does not count, nor
        one that is not there: only loading tells which these are, and whether they are wanted.

        Args:
            loaded: checkpoints in use, in the order of loading. Those outside of ``models/`` count as well, by
                their contents alone; the others are among the bundle's files already.
            bundles: that were loaded with it, and the digest of each as it was loaded. Those that the config names
                count as well.
            config: the inference config as it was built, with its overrides; that of the file by default.

        Raises:
            UsageError: the inference config cannot be read, or that of a bundle that it names.
        """
        return self._digest(loaded, tuple(bundles), config, frozenset())

    def _digest(
        self,
        loaded: Iterable[Path],
        bundles: Collection[tuple[BundleFolder, str]],
        config: Mapping[str, Any] | None,
        above: frozenset[Path],
    ) -> str:
        digest = hashlib.sha256()
        found = [p for folder in ("configs", "models", "scripts") for p in (self.root / folder).rglob("*")]
        files = sorted(p for p in found if p.is_file() and "__pycache__" not in p.parts)
        for path in files:
            digest.update(path.relative_to(self.root).as_posix().encode() + b"\0")
            digest.update(_file_digest(path))
        own = {path.resolve() for path in files}
        for path in loaded:
            if path.resolve() not in own:
                digest.update(b"checkpoint\0" + _file_digest(path))
        named = _found(self._inference if config is None else config)
        above |= {self.root}  # whose files are in already: a bundle may name itself, or one that names it
        others = {(other.name, made) for other, made in bundles}
        for root in named.keys() - above - {other.root for other, _ in bundles}:
            others.add((named[root].name, named[root]._digest((), (), None, above)))
        for _, made in sorted(others):
            digest.update(b"bundle\0" + made.encode())
        return digest.hexdigest()


def _name_of(root: Path) -> str:
    """The folder's name; for the bundle of a training, where every such folder has the same, those above it as well."""
    if root.name == "bundle" and (root.parent.parent / "run.json").is_file():
        return "/".join(root.parts[-4:-1])
    return root.name


def has_trainer(config: dict[str, Any]) -> bool:
    """Whether a config describes a training: it has a ``train::trainer``."""
    part = config.get("train")
    return isinstance(part, dict) and "trainer" in part


def _trains(path: Path) -> bool:
    try:
        return has_trainer(_read_json(path))
    except UsageError:  # whoever reads it tells
        return False


def _named(part: Any) -> Iterator[str]:
    """Names or folders of bundles that parts of a config are made by loading, as far as it says them in plain words."""
    if isinstance(part, dict):
        name, disabled = part.get("bundle"), str(part.get("_disabled_", False)).strip().lower() == "true"
        if str(part.get("_target_", "")).endswith(_LOADERS) and not disabled:
            yield from [name] if isinstance(name, str) and not name.startswith(_LANGUAGE) else []
        part = list(part.values())
    for inner in part if isinstance(part, list) else ():
        yield from _named(inner)


def weights_in_use(own: Path, inference: Mapping[str, Any]) -> list[Path]:
    """Files of the weights that a prediction takes: a bundle's own, then those of bundles that its config names.

    Args:
        own: of the bundle.
        inference: its config, which may name others that are not there; these have none.
    """
    return [own, *(folder.weights for _, folder in sorted(_found(inference).items()))]


def _found(config: Mapping[str, Any]) -> dict[Path, BundleFolder]:
    """The bundles that a config names and that are there, by folder."""
    found = {}
    for name in _named(config):
        with suppress(UsageError, OSError):  # whoever loads it tells
            folder = find_bundle(name)
            found[folder.root] = folder
    return found


def _file_digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def bundles_root() -> Path:
    """Folder of medkit's own bundles: ``bundles/`` of the source tree, or its copy inside the wheel."""
    tree = _PACKAGE.parent
    # `site-packages` may hold somebody's `configs`, but no project file beside it.
    in_tree = (tree / "pyproject.toml").is_file() and (tree / "configs").is_dir()
    return tree / "bundles" if in_tree else _PACKAGE / "_bundles"


def list_bundles(root: Path | None = None) -> list[BundleFolder]:
    """The bundles in a folder (medkit's own by default), by name."""
    root = root or bundles_root()
    return [BundleFolder(path.parent.parent) for path in sorted(root.glob("*/configs/metadata.json"))]


def find_bundle(name: str | Path) -> BundleFolder:
    """The bundle of that name, or the one in that folder.

    Args:
        name: one of medkit's bundles, or a path to any MONAI bundle's folder. A ``Path`` is never taken for a
            name, and neither is a word with a separator in it, such as ``./spleen_segmentation``.

    Raises:
        UsageError: neither a bundle's name nor a bundle's folder.
    """
    known = {bundle.name: bundle for bundle in list_bundles()}
    if isinstance(name, str) and name in known:
        return known[name]
    path = Path(name)
    if (path / "configs").is_dir():
        return BundleFolder(path)
    inside = [bundle.name for bundle in list_bundles(path)] if path.is_dir() else []
    if inside:
        raise UsageError(f"{path}: a folder of bundles; name one of them: {', '.join(inside)}")
    if path.exists():
        raise UsageError(f"{path}: not a MONAI bundle (it has no configs/ folder)")
    if isinstance(name, Path):
        raise UsageError(
            f"{path}: expected a bundle's folder, got nothing there; mend the path, or give the name of one of medkit's "
            "own bundles in its place"
        )
    close = _closest(name, known)
    hint = f"did you mean '{close}'? " if close else ""
    raise UsageError(
        f"no bundle '{name}': {hint}known bundles: {', '.join(known) or 'none'}; or give a bundle's folder"
    )


def _closest(name: str, known: Iterable[str]) -> str | None:
    """The bundle that a name is most of: people leave out words of long ones; ``None`` where none is near."""
    shared = {}
    for candidate in known:
        matcher = difflib.SequenceMatcher(a=name.lower(), b=candidate)
        letters = sum(block.size for block in matcher.get_matching_blocks())
        shared[candidate] = (letters / max(len(name), 1), matcher.ratio())
    near = [candidate for candidate, (own, both) in shared.items() if own >= _MOSTLY and both >= _NEAR]
    return max(near, key=lambda candidate: shared[candidate], default=None)
