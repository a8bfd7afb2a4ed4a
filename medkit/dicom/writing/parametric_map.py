"""Numbers of every voxel, such as an uncertainty, as a DICOM Parametric Map (PS3.3, A.75)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from highdicom import VOILUTTransformation, pm
from pydicom import Dataset
from pydicom.sr.codedict import codes

from medkit.data.label_codes import Concept
from medkit.dicom.writing.codes import coded
from medkit.dicom.writing.finishing import finish, series_description
from medkit.dicom.writing.placing import as_frames, check_upright, on_grid
from medkit.dicom.writing.uids import PENDING_UID, ResultUids
from medkit.errors import CaseError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medkit.dicom.writing.maker import Maker
    from medkit.dicom.writing.source import Source

__all__ = ["UNCERTAINTY", "MapQuantity", "make_parametric_map"]

_SERIES = 93
_LATERALITY = {codes.SCT.Left.value: "L", codes.SCT.Right.value: "R"}


@dataclass(frozen=True)
class MapQuantity:
    """What the numbers of a map are.

    Args:
        label: up to 16 characters.
        explanation: up to 64 characters.
        unit: of UCUM.
        quantity: its definition as a code, where there is one.
    """

    label: str
    explanation: str
    unit: Concept
    quantity: Concept | None = None


UNCERTAINTY = MapQuantity(
    "Uncertainty", "Entropy of the class probabilities, 0 sure to 1 a guess", Concept("1", "no units", "UCUM")
)
"""What ``medkit predict --uncertainty`` writes."""


def make_parametric_map(
    source: Source,
    values: NDArray[Any],
    affine: NDArray[np.float64],
    maker: Maker,
    quantity: MapQuantity = UNCERTAINTY,
    *,
    allow_sheared: bool = False,
) -> pm.ParametricMap:
    """A map of float32 numbers on the voxels of the source.

    Args:
        source: the images.
        values: ``(I, J, K)`` finite numbers.
        affine: 4x4, voxel index of ``values`` to RAS millimetres: the source's voxels, with axes in any order.
        maker: what made them.
        quantity: what they are.
        allow_sheared: as of :func:`medkit.dicom.writing.segmentation.make_segmentation`.

    Raises:
        CaseError: ``grids-differ``, ``source-sheared`` or ``voxels-not-finite``.
    """
    if not allow_sheared:
        check_upright(source.volume)
    frames = as_frames(on_grid(values, affine, source.volume)).astype(np.float32)
    if not np.isfinite(frames).all():
        raise CaseError(
            "voxels-not-finite",
            f"{source.volume.called}: expected finite voxels in a parametric map, got NaN or infinite ones",
        )
    low, high = float(frames.min()), float(frames.max())
    defined = None if quantity.quantity is None else coded(quantity.quantity)
    dataset = pm.ParametricMap(
        source.stand_ins,
        frames,
        series_instance_uid=PENDING_UID,
        series_number=source.series_number(_SERIES),
        sop_instance_uid=PENDING_UID,
        instance_number=1,
        **maker.equipment(),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            pm.RealWorldValueMapping(
                quantity.label,
                quantity.explanation,
                coded(quantity.unit),
                (low, high),
                slope=1.0,
                intercept=0.0,
                quantity_definition=defined,
            )
        ],
        voi_lut_transformations=[
            VOILUTTransformation(
                window_center=(low + high) / 2,
                window_width=high - low if high > low else 1.0,
                voi_lut_function="LINEAR_EXACT",  # the only one for a width of less than 1
            )
        ],
        pixel_measures=source.pixel_measures(),
        plane_orientation=source.plane_orientation(),
        plane_positions=source.plane_positions(),
        content_label="MAP",
        content_description=f"{quantity.label}, machine-made by {maker.bundle}"[:64],
        series_description=series_description(maker, quantity.label, source),
    )
    _turn_round(dataset)
    finish(dataset, source)
    if (anatomy := _frame_anatomy(maker)) is not None:
        dataset.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]
        del dataset.Laterality  # said there
    ResultUids(source, maker, f"map-{quantity.label}").identify(dataset)
    # What highdicom has looked up of it is out of date by now.
    return pm.ParametricMap.from_dataset(dataset, copy=False)


def _turn_round(dataset: pm.ParametricMap) -> None:
    """Put the frames in the order of their normal: dcmqi stacks them so, wherever they say that they are."""
    items = list(dataset.PerFrameFunctionalGroupsSequence)[::-1]
    for number, item in enumerate(items, 1):
        item.FrameContentSequence[0].DimensionIndexValues = [number]
    dataset.PerFrameFunctionalGroupsSequence = items
    frames = np.frombuffer(dataset.FloatPixelData, np.float32).reshape(len(items), -1)
    dataset.FloatPixelData = frames[::-1].tobytes()


def _frame_anatomy(maker: Maker) -> Dataset | None:
    """Where the frames are, if all labels are in one region or of one structure; dcmqi reads no map without."""
    labels = [maker.codes_of(value) for value in maker.label_names]
    places = {(label.region or label.type).value: label.region or label.type for label in labels}
    if len(places) != 1:
        return None
    sides = {
        modifier.value for label in labels for modifier in (*label.modifiers, *label.region_modifiers)
    } & _LATERALITY.keys()
    item = Dataset()
    item.AnatomicRegionSequence = [coded(place) for place in places.values()]
    item.FrameLaterality = "B" if len(sides) > 1 else "".join(_LATERALITY[side] for side in sides) or "U"
    return item
