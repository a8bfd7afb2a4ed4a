"""What the values of a label map are called, from a JSON file or from the map itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from medkit.data.reading import file_suffix
from medkit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CARET_EXTENSION", "label_table", "read_label_names"]

CARET_EXTENSION = 30  # the code under which Connectome Workbench keeps label tables


def read_label_names(path: Path) -> dict[int, str]:
    """Label names from a JSON file, background (0) left out.

    The file holds an object such as ``{"1": "anterior", "2": "posterior"}``, or one with such an object under
    ``labels``, as the ``dataset.json`` of the Medical Segmentation Decathlon does.

    Raises:
        UsageError: the file cannot be read or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path}: expected a JSON file of label names, got one that cannot be read ({error})"
        ) from error
    named = content.get("labels", content) if isinstance(content, dict) else content
    try:
        names = {int(value): name for value, name in named.items()}
    except (AttributeError, ValueError) as error:
        raise UsageError(f"{path}: {_expected(named)}") from error
    if not names or not all(isinstance(name, str) and name for name in names.values()):
        raise UsageError(f"{path}: {_expected(named)}")
    return {value: name for value, name in names.items() if value != 0}


def _expected(got: Any) -> str:
    return f'expected an object of label names such as {{"1": "anterior", "2": "posterior"}}, got {got!r:.80}'


def label_table(path: Path) -> dict[int, str]:
    """Label names that a NIfTI file carries as a Connectome Workbench label table, background (0) left out.

    Empty when it carries none, or is another kind of file; see :func:`medkit.data.writing.write_labels`.
    """
    if file_suffix(path) not in (".nii", ".nii.gz"):
        return {}
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError

    try:
        extensions = nib.load(path).header.extensions
    except (ImageFileError, OSError, EOFError, ValueError):
        return {}  # reading the voxels gives the reason
    tables = [item.content for item in extensions if item.get_code() == CARET_EXTENSION]
    return _parse_table(tables[0]) if tables else {}


def _parse_table(content: bytes) -> dict[int, str]:
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(content.rstrip(b"\0"))  # extensions are padded to 16 bytes
        names = {int(entry.get("Key", 0)): (entry.text or "").strip() for entry in root.iter("Label")}
    except (ElementTree.ParseError, ValueError):
        return {}
    return {value: name for value, name in names.items() if value != 0 and name}
