"""Read a volume from a file, or refuse it with one line that says why."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.openers import ImageOpener
from nibabel.volumeutils import apply_read_scaling

from medkit.data.archives import ARCHIVE_SUFFIX, read_archive
from medkit.data.checks import (
    DEFLATE_LIMIT,
    check_claim,
    check_nifti_header,
    check_shape,
    check_stored_spacing,
    check_volume,
    states_size,
)
from medkit.data.grid import (
    COMMENT_EXTENSION,
    SAME_PLACE_VOXELS,
    SIDE_UNKNOWN,
    SIDE_UNKNOWN_NOTE,
    SIZE_UNKNOWN,
    SIZE_UNKNOWN_NOTE,
    Grid,
    flip_lps_ras,
    voxels_apart,
)
from medkit.data.text_headers import (
    check_metaimage_axes,
    check_metaimage_stream,
    check_metaimage_units,
    check_nrrd_stream,
    metaimage_remarks,
    nrrd_geometry,
    nrrd_remarks,
)
from medkit.data.volume import Volume
from medkit.errors import CaseError, MedkitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = [
    "ITK_SUFFIXES",
    "READABLE_SUFFIXES",
    "file_suffix",
    "nifti_size_known",
    "open_itk",
    "open_nibabel",
    "read_channels",
    "read_volume",
    "stack_channels",
    "volume_from_itk",
    "volume_from_nibabel",
]

_NIBABEL_SUFFIXES = (".nii.gz", ".nii", ".img.gz", ".hdr.gz", ".img", ".hdr", ".mgz", ".mgh")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd", ".gipl", ".gipl.gz")
READABLE_SUFFIXES = (*_NIBABEL_SUFFIXES, *ITK_SUFFIXES, ARCHIVE_SUFFIX)
# A label map is one file whatever the image was: the detached forms become their single-file kin.
_LABEL_SUFFIX = {".nrrd": ".nrrd", ".nhdr": ".nrrd", ".mha": ".mha", ".mhd": ".mha"}
_GIPL_NOTES = (f"GIPL headers hold no directions: {SIDE_UNKNOWN_NOTE}",)
_CHUNK = 1 << 20


def file_suffix(path: Path) -> str | None:
    """The image suffix of a file name, ``.nii.gz`` counted as one; ``None`` if it is not an image's."""
    name = path.name.lower()
    return next((suffix for suffix in READABLE_SUFFIXES if name.endswith(suffix)), None)


def read_volume(path: Path, arrays: Sequence[str] = ()) -> Volume:
    """Read a NIfTI, FreeSurfer or ITK image file, or a case that numpy packed.

    Voxels keep the file's type in native byte order; scaled ones (``scl_slope``) become float32.

    Args:
        path: the file.
        arrays: of a ``.npz``, see :func:`medkit.data.archives.read_archive`; other files have no names for theirs.

    Raises:
        CaseError: ``file-missing``, ``format-unknown``, ``file-unreadable``, ``file-truncated``, or the
            codes of :mod:`medkit.data.checks` and :mod:`medkit.data.archives`.
    """
    path = Path(path)
    with _decoding(path):
        if not path.is_file():
            found = "a folder" if path.is_dir() else "a broken link" if path.is_symlink() else "nothing there"
            raise CaseError("file-missing", f"{path}: expected an image file, got {found}; check the path")
        path.open("rb").close()  # nibabel says nothing of permissions
        suffix = file_suffix(path)
        if suffix is None:
            raise CaseError(
                "format-unknown",
                f"{path}: expected one of {', '.join(READABLE_SUFFIXES)}, got another ending; "
                "convert the image to NIfTI first, DICOM with 'medkit dicom convert'",
            )
        if suffix == ARCHIVE_SUFFIX:
            return check_volume(read_archive(path, arrays))
        if suffix in ITK_SUFFIXES:
            return check_volume(_read_itk(path, suffix))
        return check_volume(volume_from_nibabel(open_nibabel(path), str(path)))


def read_channels(paths: Sequence[Path], arrays: Sequence[str] = ()) -> Volume:
    """Read one volume from one file, or from one file per channel on one grid.

    Args:
        paths: the files.
        arrays: see :func:`read_volume`.

    Raises:
        UsageError: no path is given.
        CaseError: ``channels-on-different-grids`` besides what :func:`read_volume` raises.
    """
    if not paths:
        raise UsageError("expected at least one image path, got an empty list; name one file per channel")
    return stack_channels([read_volume(path, arrays) for path in paths])


def stack_channels(volumes: Sequence[Volume]) -> Volume:
    """One volume of several on one grid, each a channel ``(I, J, K)``; of a single one, itself.

    Raises:
        CaseError: ``channels-on-different-grids``; nothing is resampled.
    """
    first = volumes[0]
    if len(volumes) == 1:
        return first
    for volume in volumes:
        shape = volume.array.shape
        if len(shape) == 3 and shape == first.array.shape:
            apart = voxels_apart(shape, first.grid.affine, volume.grid.affine)
            if apart <= SAME_PLACE_VOXELS:
                continue
            got = f"one up to {apart:.3g} voxel edges away"
        else:
            got = f"shape {shape}"
        raise CaseError(
            "channels-on-different-grids",
            f"{volume.name}: expected one channel on the grid of {first.name} (shape {first.array.shape}), "
            f"got {got}; resample the channels onto one grid first",
        )
    stacked = np.stack([volume.array for volume in volumes], axis=-1)
    notes = dict.fromkeys(note for volume in volumes for note in volume.notes)
    return Volume(stacked, first.grid, first.name, tuple(notes))


@contextmanager
def _decoding(name: str | Path) -> Iterator[None]:
    """Turn what the format libraries raise on a damaged file into a refusal."""
    try:
        with np.errstate(all="ignore"):
            yield
    except MedkitError:
        raise
    except Exception as error:  # on garbage nibabel raises anything, KeyError and AttributeError included
        # ITK closes with a "Reason:" that is some earlier system call's.
        lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("Reason:")]
        reason = "".join(lines[-1:]) or type(error).__name__
        raise CaseError(
            "file-unreadable",
            f"{name}: expected a whole image file of the kind that its name says, got one that cannot be "
            f"read ({reason}); copy or export it again",
        ) from error


def open_nibabel(path: Path) -> Any:
    """A nibabel image whose voxels are still in a file that is large enough to hold them.

    Raises:
        CaseError: ``file-truncated``, or that of :func:`medkit.data.checks.check_stored_spacing`.
        Exception: whatever nibabel raises on a damaged file.
    """
    image: Any = nib.load(path)
    if isinstance(image.header, nib.AnalyzeHeader):
        _check_stored_spacing(path, image)
    holder = image.file_map.get("image", image.file_map.get("header"))
    data_file = Path(holder.filename)
    growth = DEFLATE_LIMIT if data_file.suffix.lower() in (".gz", ".mgz") else 1
    proxy = image.dataobj
    check_claim(data_file, proxy.shape, proxy.dtype.itemsize, growth, header_bytes=proxy.offset)
    return image


def _check_stored_spacing(path: Path, image: Any) -> None:
    """Read the header once more, without the repairs that nibabel makes on the way."""
    kind, holder = type(image.header), image.file_map.get("header", image.file_map.get("image"))
    with ImageOpener(holder.filename) as stream:
        check_stored_spacing(kind(stream.read(image.header.sizeof_hdr), check=False), str(path))


def volume_from_nibabel(image: Any, name: str | None = None) -> Volume:
    """Take a nibabel image; scaled voxels become float32 as MONAI's own reader would make them.

    Raises:
        CaseError: ``file-unreadable``, or the codes of :func:`medkit.data.checks.check_nifti_header` and
            :func:`medkit.data.checks.check_shape`.
    """
    name = name or image.get_filename() or "<nibabel image>"
    shape = _without_single_axes(tuple(map(int, image.shape)))
    check_shape(shape, name)
    header, notes, nifti, size_known, side_known = image.header, [], None, True, True
    affine = np.array(image.affine, np.float64)
    with _decoding(name):
        if isinstance(header, nib.Nifti1Header):
            notes = check_nifti_header(header, name)
            size_known = nifti_size_known(header)
            notes = notes if size_known else [SIZE_UNKNOWN_NOTE, SIDE_UNKNOWN_NOTE]
            coded = bool(header["qform_code"] or header["sform_code"])
            side_known = size_known and coded and not _says(header, SIDE_UNKNOWN)
            notes += [SIDE_UNKNOWN_NOTE] if coded and size_known and not side_known else []
            # nibabel too writes the image's affine where a header that was changed since says another.
            nifti = Grid.nifti_fields(header) if np.allclose(header.get_best_affine(), affine) else None
        elif isinstance(header, nib.AnalyzeHeader):
            notes = ["Analyze headers hold no orientation: side is unknown, lengths are taken as millimetres"]
            side_known = False
        array = _nibabel_voxels(image.dataobj).reshape(shape)
    i, j, k = shape[:3]
    grid = Grid((i, j, k), affine, nifti=nifti, size_known=size_known, side_known=side_known)
    return Volume(array, grid, name, tuple(notes))


def nifti_size_known(header: nib.Nifti1Header) -> bool:
    """Whether a header states the size of its voxels, and does not say that nobody knew it."""
    return states_size(header) and not _says(header, SIZE_UNKNOWN)


def _says(header: nib.Nifti1Header, remark: bytes) -> bool:
    """Whether medkit wrote the file, and left a remark on what it knew no better."""
    return any(item.get_code() == COMMENT_EXTENSION and remark in item.content for item in header.extensions)


def _without_single_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A NIfTI shape without the axes of length 1 that time or vectors leave behind."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return (*shape[:3], shape[4]) if len(shape) == 5 and shape[3] == 1 else shape


def _nibabel_voxels(data: Any) -> NDArray[Any]:
    """Voxels in native byte order, scaled where the file says so."""
    if type(data) is not ArrayProxy:
        array: NDArray[Any] = np.asanyarray(data)
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    stored = _stored_voxels(data)
    if (data.slope, data.inter) == (1, 0):
        return stored
    scaled = np.empty(stored.shape, np.float32, order="F")
    for k in range(stored.shape[-1]):  # in slabs: scaling computes in float64
        scaled[..., k] = apply_read_scaling(stored[..., k], data.slope, data.inter)
    return scaled


def _stored_voxels(proxy: ArrayProxy) -> NDArray[Any]:
    """Read the stream to its end, in pieces.

    nibabel stops at the last voxel, before gzip compares its checksum, and so takes a damaged file for a
    good one; and gzip makes a copy of what is read at once.
    """
    stored = np.empty(math.prod(map(int, proxy.shape)), proxy.dtype)
    left = stored.view(np.uint8).data
    with ImageOpener(proxy.file_like) as stream:
        stream.seek(proxy.offset)
        while left:
            count = stream.readinto(left[:_CHUNK])
            if not count:
                raise EOFError(f"the file ends {len(left)} bytes too early")
            left = left[count:]
        while stream.read(_CHUNK):
            pass
    stored = stored.reshape(proxy.shape, order=proxy.order)
    return stored.astype(stored.dtype.newbyteorder("="), copy=False)


def open_itk(path: Path) -> Any:
    """A SimpleITK reader that knows the header of a file that is large enough to hold its voxels.

    Raises:
        CaseError: ``file-truncated``, or the codes of :mod:`medkit.data.text_headers`.
        Exception: whatever ITK raises on a damaged file.
    """
    import SimpleITK as sitk

    suffix = file_suffix(path)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    if suffix in (".mha", ".mhd"):
        check_metaimage_axes(path)
        check_metaimage_units(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if suffix not in (".nhdr", ".mhd"):
        check_claim(path, reader.GetSize(), reader.GetNumberOfComponents())
    return reader


def _read_itk(path: Path, suffix: str) -> Volume:
    if suffix in (".mha", ".mhd"):
        check_metaimage_stream(path)
    elif suffix in (".nrrd", ".nhdr"):
        check_nrrd_stream(path)
    reader = open_itk(path)
    volume = volume_from_itk(reader.Execute(), str(path), _LABEL_SUFFIX.get(suffix, ".nii.gz"))
    lines = None
    if suffix in (".nrrd", ".nhdr"):
        lines = nrrd_geometry(path)
        notes = nrrd_remarks(path, lines)
    else:
        notes = _GIPL_NOTES if suffix.startswith(".gipl") else metaimage_remarks(path)
    return replace(volume, grid=replace(volume.grid, nrrd=lines, side_known=not notes), notes=notes)


def volume_from_itk(image: Any, name: str = "<SimpleITK image>", suffix: str = ".nii.gz") -> Volume:
    """Take a SimpleITK image.

    Args:
        image: scalar or vector image.
        name: how messages call it.
        suffix: see :class:`Grid`.

    Raises:
        CaseError: ``not-3d`` when the image has another number of dimensions.
    """
    import SimpleITK as sitk

    check_shape(tuple(image.GetSize()), name)
    if image.GetDimension() != 3:
        raise CaseError(
            "not-3d",
            f"{name}: expected a 3D image, got {image.GetDimension()} dimensions; write one volume a file",
        )
    array = sitk.GetArrayFromImage(image)
    array = array.transpose((2, 1, 0, 3) if array.ndim == 4 else (2, 1, 0))
    itk = {
        "origin": tuple(image.GetOrigin()),
        "spacing": tuple(image.GetSpacing()),
        "direction": tuple(image.GetDirection()),
    }
    lps = np.eye(4)
    lps[:3, :3] = np.array(itk["direction"]).reshape(3, 3) * np.array(itk["spacing"])
    lps[:3, 3] = itk["origin"]
    grid = Grid(tuple(array.shape[:3]), flip_lps_ras(lps), suffix=suffix, itk=itk)
    return Volume(array, grid, name)
