"""Write label maps and images on the grid that they came from, whole or not at all."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from medkit.data.grid import COMMENT_EXTENSION, SIDE_UNKNOWN, SIZE_UNKNOWN, copy_geometry, flip_lps_ras
from medkit.data.label_map import HIGHEST_LABEL, as_label_map
from medkit.data.label_names import CARET_EXTENSION
from medkit.data.palette import label_colours
from medkit.data.text_headers import SIDE_UNKNOWN_FIELD, with_nrrd_geometry
from medkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from medkit.data.grid import Grid

__all__ = [
    "UNFINISHED",
    "make_folder",
    "nifti_image",
    "replace_files",
    "replacing",
    "write_channels",
    "write_labels",
    "write_text",
    "write_volume",
]

UNFINISHED = ".part-"  # how the names of files that are being written begin


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and move it there only when the block succeeds.

    A reader sees the old file or the whole new one, and an interrupted writer leaves nothing under the
    final name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{UNFINISHED}{os.getpid()}-{path.name}")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())  # or a power cut could leave the name on an empty file
        temporary.replace(path)
    except OSError as error:
        if error.filename == str(temporary):  # a name that nobody knows
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder for results, if it is not there.

    Raises:
        UsageError: something else stands there, or nothing can be written into it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(path, os.W_OK | os.X_OK) else "Permission denied"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise UsageError(
            f"{path}: expected a folder that can be written, got none ({reason}); choose another"
        )


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def replace_files(contents: Mapping[Path, bytes | None]) -> None:
    """Write files that belong together: each lies in full beside its place before the first of them is replaced.

    Args:
        contents: of each file; ``None`` for one that is to go.
    """
    with ExitStack() as stack:
        for path, content in contents.items():
            if content is not None:
                stack.enter_context(replacing(path)).write_bytes(content)
    for path in (path for path, content in contents.items() if content is None):
        path.unlink(missing_ok=True)


def write_labels(path: Path, labels: NDArray[Any], grid: Grid, names: Mapping[int, str]) -> None:
    """Write a label map on ``grid`` with its label names.

    NIfTI carries the names as a Connectome Workbench label table (intent ``NIFTI_INTENT_LABEL``); NRRD and
    MetaImage carry them as ``label_<value>`` entries.

    Args:
        path: ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.mha``.
        labels: ``(I, J, K)``, or ``(I, J, K, C)`` masks; whole numbers from 0 to 2^32 - 1 of any type.
        grid: must have the shape of ``labels``.
        names: label value to name, printable and on one line.

    Raises:
        UsageError: shape and grid differ, the suffix is none of these (or not NIfTI's, where the voxel size is
            unknown), or a label or name is none of these.
    """
    _check_shape(path, labels, grid)
    for value, name in names.items():
        if not 0 <= value <= HIGHEST_LABEL or not name.isprintable():
            raise UsageError(
                f"{path}: expected a printable name for a label from 0 to 2^32 - 1, got {value}: {name!r}"
            )
    _write(path, _as_labels(path, labels, max(names, default=0)), grid, dict(names))


def _as_labels(path: Path, labels: NDArray[Any], highest: int) -> NDArray[np.unsignedinteger[Any]]:
    try:
        return as_label_map(labels, highest)
    except ValueError as error:
        raise UsageError(
            f"{path}: expected whole numbers from 0 to 2^32 - 1 as labels, got {error}; take the argmax of "
            "scores, and resample labels with nearest neighbours"
        ) from error


def write_volume(path: Path, array: NDArray[Any], grid: Grid) -> None:
    """Write an image ``(I, J, K)`` or ``(I, J, K, C)`` on ``grid``, losing no value.

    Types that the formats or their readers do not know become the nearest that they do: bool uint8,
    float16 float32.

    Raises:
        UsageError: shape and grid differ, or the suffix is none of those of :func:`write_labels`.
    """
    _check_shape(path, array, grid)
    _write(path, array.astype(_known_type(array), copy=False), grid, None)


def nifti_image(array: NDArray[Any], grid: Grid) -> Any:
    """The nibabel image that :func:`write_volume` writes to a NIfTI file; its header has the geometry."""
    return _nifti_image(array.astype(_known_type(array), copy=False), grid, None)


def _known_type(array: NDArray[Any]) -> Any:
    return {"?": np.uint8, "e": np.float32}.get(array.dtype.char, array.dtype.newbyteorder("="))


def write_channels(path: Path, channels: Iterable[NDArray[np.float32]], count: int, grid: Grid) -> None:
    """Write an image of several channels as :func:`write_volume` would, with one of them in memory at a time.

    Args:
        path: ``.nii`` or ``.nii.gz``, in which one channel follows the other.
        channels: ``(I, J, K)`` on ``grid``.
        count: their number.
        grid: of all.

    Raises:
        UsageError: another suffix; or channels of another shape or number, of which nothing is written then.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise UsageError(f"{path}: expected a name ending in .nii or .nii.gz for channels written one by one")
    like = np.broadcast_to(np.float32(0), (*grid.shape, count))  # all channels, and no memory
    header, written = _nifti_image(like, grid, None).header, 0
    header.set_slope_inter(1, 0)
    with replacing(path) as temporary:
        with nib.openers.ImageOpener(temporary, "wb") as file:
            header.write_to(file)
            nib.volumeutils.seek_tell(file, header.get_data_offset(), write0=True)
            for channel in channels:
                written += 1
                _check_shape(path, channel[..., None], grid)
                for plane in np.moveaxis(channel, -1, 0):
                    file.write(plane.astype(np.float32, copy=False).tobytes(order="F"))
        if written != count:
            raise UsageError(f"{path}: expected {count} channels, got {written}; give their right number")


def _check_shape(path: Path, array: NDArray[Any], grid: Grid) -> None:
    if array.ndim not in (3, 4) or array.shape[:3] != tuple(grid.shape):
        raise UsageError(
            f"{path}: expected an array of shape {grid.shape}, or that and channels, got {array.shape}"
        )


def _write(path: Path, array: NDArray[Any], grid: Grid, names: dict[int, str] | None) -> None:
    with replacing(path) as temporary:
        if path.name.endswith((".nii", ".nii.gz")):
            nib.save(_nifti_image(array, grid, names), temporary)
        elif path.name.endswith((".nrrd", ".mha")):
            _check_size_is_known(path, grid)
            _write_itk(temporary, array, grid, names)
        else:
            raise UsageError(f"{path}: expected a name ending in .nii, .nii.gz, .nrrd or .mha")


def _check_size_is_known(path: Path, grid: Grid) -> None:
    if not grid.size_known:
        raise UsageError(
            f"{path}: expected a name ending in .nii or .nii.gz, which can say that the voxel size is unknown, "
            f"got {path.suffix}, where 1 mm would be read; choose another name"
        )


def _nifti_image(array: NDArray[Any], grid: Grid, names: dict[int, str] | None) -> Any:
    source = grid.nifti_header()
    kind = nib.Nifti2Image if isinstance(source, nib.Nifti2Header) else nib.Nifti1Image
    image = kind(array, None, dtype=array.dtype)
    header = image.header
    copy_geometry(source, header)
    if not grid.size_known:
        header.extensions.append(nib.nifti1.Nifti1Extension(COMMENT_EXTENSION, SIZE_UNKNOWN))
    elif not grid.side_known and grid.nifti is None:  # a NIfTI file's own codes say so
        header.extensions.append(nib.nifti1.Nifti1Extension(COMMENT_EXTENSION, SIDE_UNKNOWN))
    if names is not None:
        header.set_intent("label", name="Labels")
        header["descrip"] = b"medkit label map"
        header.extensions.append(nib.nifti1.Nifti1Extension(CARET_EXTENSION, _label_table(names)))
        header["cal_min"], header["cal_max"] = 0, 0
    return image


def _label_table(names: Mapping[int, str]) -> bytes:
    from xml.sax.saxutils import escape

    colours = label_colours({value: name for value, name in names.items() if value})
    rows = []
    for value, name in sorted(names.items()):
        red, green, blue = colours.get(value, (0, 0, 0))
        alpha = 1 if value else 0
        rows.append(
            f'<Label Key="{value}" Red="{red:.4f}" Green="{green:.4f}" Blue="{blue:.4f}" Alpha="{alpha}">'
            f"{escape(name)}</Label>"
        )
    table = "".join(rows)
    return (
        '<?xml version="1.0" encoding="UTF-8"?><CaretExtension><VolumeInformation Index="0">'
        f"<LabelTable>{table}</LabelTable><VolumeType>Label</VolumeType>"
        "</VolumeInformation></CaretExtension>"
    ).encode()


def _write_itk(path: Path, array: NDArray[Any], grid: Grid, names: dict[int, str] | None) -> None:
    import SimpleITK as sitk

    axes = (2, 1, 0, 3) if array.ndim == 4 else (2, 1, 0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(axes)), isVector=array.ndim == 4)
    if grid.itk is not None:
        origin, spacing, direction = grid.itk["origin"], grid.itk["spacing"], grid.itk["direction"]
    else:
        lps = flip_lps_ras(grid.affine)
        spacing = grid.spacing
        direction = tuple((lps[:3, :3] / np.array(spacing)).ravel())
        origin = tuple(lps[:3, 3])
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    for value, name in (names or {}).items():
        image.SetMetaData(f"label_{value}", name)
    if not grid.side_known:
        image.SetMetaData(*SIDE_UNKNOWN_FIELD)
    sitk.WriteImage(image, str(path), useCompression=True)
    if grid.nrrd and path.suffix == ".nrrd":
        path.write_bytes(with_nrrd_geometry(path.read_bytes(), grid.nrrd))
