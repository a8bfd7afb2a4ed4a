"""An image with something of a person in every place that can hold it, and what must not be found afterwards."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from tests.dicom_series.stacks import Stack

TEXTS = {"LO": 64, "LT": 200, "SH": 16, "ST": 200, "UC": 200, "UT": 200, "AE": 16, "PN": 64}
# What an object of this class must have, and what is not about a person.
STRUCTURAL = {"SOPClassUID", "Modality", "PixelData"}


@dataclass
class Marked:
    """A data set, and the marks that lie in it."""

    dataset: Dataset
    marks: list[bytes] = field(default_factory=list)
    count: int = 0

    def mark(self, vr: str) -> Any:
        """A value of a kind that nothing else has; ``None`` where the kind holds no words."""
        self.count += 1
        number = self.count
        made: Any = None
        if vr in TEXTS:
            made = f"Doe{number:05}"
        elif vr == "UI":
            made = f"1.2.826.0.1.{770000 + number}"
        elif vr == "DA":
            made = f"{1931 + number % 60}{1 + number % 11:02}{1 + number % 27:02}"
        elif vr == "DT":
            made = (
                f"{1931 + number % 60}{1 + number % 11:02}{1 + number % 27:02}1{number % 10}3735.{number:06}"
            )
        elif vr == "TM":
            made = f"173725.{number:06}"
        elif vr == "AS":
            made = f"{100 + number % 400}M"
        elif vr == "UR":
            made = f"http://doe.example/{number}"
        elif vr in ("OB", "UN"):
            made = f"Doe{number:05}".encode()
        if made is not None:
            self.marks.append(made if isinstance(made, bytes) else made.encode())
        return made

    def put(self, dataset: Dataset, tag: int, vr: str) -> None:
        """Add a marked element; a sequence gets an item with names, words, codes and a private element."""
        if vr == "SQ":
            item = Dataset()
            for name in (
                "PatientName",
                "TextValue",
                "CodeMeaning",
                "ReferencedSOPInstanceUID",
                "ContentDate",
            ):
                self.put(item, Tag(name), dictionary_VR(Tag(name)))
            item.CodingSchemeDesignator = "99DOE"
            inner = Dataset()
            self.put(inner, Tag("PersonName"), "PN")
            item.ContentSequence = [inner]
            self.private(item)
            dataset.add(DataElement(tag, "SQ", [item]))
            return
        value = self.mark(vr)
        if value is not None:
            dataset.add(DataElement(tag, vr, value))

    def private(self, dataset: Dataset) -> None:
        block = dataset.private_block(0x0099, "DOE CREATOR", create=True)
        block.add_new(1, "LO", self.mark("LO"))
        block.add_new(2, "UN", self.mark("UN"))
        block.add_new(3, "PN", self.mark("PN"))


def profile() -> dict[int, str]:
    """The standard's table, as medkit has it."""
    text = files("medkit").joinpath("dicom", "basic_profile.json").read_text("utf-8")
    return {int(tag, 16): action for tag, action in json.loads(text)["actions"].items()}


def marked_image(seed: int = 0) -> Marked:
    """A CT slice with every attribute of the standard's table, and words in places that the table does not name."""
    dataset = Stack(np.random.default_rng(seed)).datasets[0]
    made = Marked(dataset)
    for tag in profile():
        known = dictionary_has_tag(tag) and Tag(tag).group >= 8
        if known and Tag(tag) not in (Tag("EncapsulatedDocument"),):
            made.put(dataset, tag, dictionary_VR(tag).split(" or ")[0])
    for name in (
        *(
            "WindowCenterWidthExplanation",
            "LUTExplanation",
            "RescaleType",
            "TextValue",
            "DoseCalibrationFactor",
        ),
        *(
            "PatientOrientation",
            "EventTimerNames",
            "FilterMaterial",
            "AnatomicRegionSequence",
            "SegmentLabel",
        ),
        *("ModalityLUTSequence", "ReferencedSeriesSequence", "TrackingID", "MeasuredValueSequence"),
    ):
        vr = dictionary_VR(Tag(name))
        if name not in ("RescaleType", "PatientOrientation"):
            made.put(dataset, Tag(name), vr)
    made.private(dataset)
    for group in (0x5000, 0x6000):
        dataset.add(DataElement(group << 16 | 0x0022, "LO", made.mark("LO")))
        dataset.add(DataElement(group << 16 | 0x3000, "OW", made.mark("OB") + b" " * (made.count % 2)))
        dataset.add(DataElement(group << 16 | 0x4000, "LT", made.mark("LT")))
    dataset.add(DataElement(0x00081235, "LO", made.mark("LO")))  # a public tag that nobody knows
    return made
