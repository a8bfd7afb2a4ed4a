"""MONAI Deploy's operators and medkit's own parts, one process each, from a DICOM series to a DICOM segmentation.

    python benchmarks/monai_deploy_ways.py WAY BUNDLE

Speaks as ``dicom_readers_ways.py`` does. ``{"do": "read", "folder", "output"}`` reads every series of a folder;
``{"do": "segment", "folder", "objects"}`` makes a segmentation of the one series in a folder. The operators are called
by hand, outside of Holoscan's runtime, and get their network once; ``{"anew": true}`` has them load it as they do by
themselves. One thread is used, or as many as ``{"threads": 4}`` says.
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
from dicom_readers_ways import serve

Array = Any


class Way(Protocol):
    """From a series to a segmentation."""

    def volumes(self, folder: Path) -> tuple[list[tuple[Array, Array]], int]:
        """Arrays with affines to RAS millimetres of all series, and how many were refused."""

    def read(self, folder: Path) -> Any: ...

    def predict(self, source: Any, anew: bool) -> Any: ...

    def write(self, source: Any, labels: Any, objects: Path) -> None: ...


class Operators:
    """MONAI Deploy App SDK's, as its own ``test`` functions call them.

    Args:
        bundle: folder of a bundle.
    """

    VERSIONS = ("monai-deploy-app-sdk", "holoscan-cu13", "monai", "torch", "pydicom", "highdicom")

    def __init__(self, bundle: Path) -> None:
        from monai.deploy import operators
        from monai.deploy.core import Fragment, Image, IOType
        from monai.deploy.operators.monai_bundle_inference_operator import IOMapping

        fragment = Fragment()
        self.loader = operators.DICOMDataLoaderOperator(fragment, name="loader")
        self.selector = operators.DICOMSeriesSelectorOperator(fragment, name="selector")
        self.to_volume = operators.DICOMSeriesToVolumeOperator(fragment, name="to_volume")
        # Of a TorchScript file the application's context keeps the network; of a folder nobody does.
        self.context = SimpleNamespace(models=None)
        self.inference = operators.MonaiBundleInferenceOperator(
            fragment,
            name="inference",
            app_context=self.context,
            input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", Image, IOType.IN_MEMORY)],
            bundle_path=bundle,
        )
        self.writer = operators.DICOMSegmentationWriterOperator(
            fragment, name="writer", segment_descriptions=segments(bundle), output_folder=Path()
        )

    def volumes(self, folder: Path) -> tuple[list[tuple[Array, Array]], int]:
        from monai.deploy.core.domain.dicom_series_selection import StudySelectedSeries

        found, refused = [], 0
        for study in self.selector.filter(None, self.loader.load_data_to_studies(folder)):
            for selected in study.selected_series:
                alone = StudySelectedSeries(study.study)
                alone.add_selected_series(selected)
                try:
                    image = self.to_volume.convert_to_image([alone])
                except Exception:
                    refused += 1
                    continue
                affine = image.metadata().get("affine")
                if affine is None:  # of a single object: nothing can be done with it
                    refused += 1
                else:
                    found.append((image.asnumpy().T, affine))
        return found, refused

    def read(self, folder: Path) -> Any:
        selected = self.selector.filter(None, self.loader.load_data_to_studies(folder))
        return selected, self.to_volume.convert_to_image(selected)

    def predict(self, source: Any, anew: bool) -> Any:
        emitted: dict[str, Any] = {}
        receiver = SimpleNamespace(receive=lambda name: source[1])
        emitter = SimpleNamespace(emit=lambda value, name: emitted.update({name: value}))
        if anew:
            self.context.models = None
        self.inference.compute(receiver, emitter, None)
        self.context.models = {"": self.inference._model_network}
        return emitted["pred"]

    def write(self, source: Any, labels: Any, objects: Path) -> None:
        self.writer.process_images(labels, source[0], objects)


class Medkit:
    """What ``medkit.batch`` does with a study, without its ledger.

    Args:
        bundle: folder of a bundle.
    """

    VERSIONS = ("medkit-imaging",)

    def __init__(self, bundle: Path) -> None:
        from medkit.batch.making import BundleSettings, BundleShelf

        self.bundle = BundleShelf({bundle.name: BundleSettings(location=bundle)}).take(bundle.name)

    def volumes(self, folder: Path) -> tuple[list[tuple[Array, Array]], int]:
        import medkit.dicom

        reading = medkit.dicom.read(folder)
        refusals = len(reading.refusals) + sum(len(series.refusals) for series in reading.series)
        return [(volume.array, volume.affine) for volume in reading.volumes], refusals

    def read(self, folder: Path) -> Any:
        import medkit.dicom

        (volume,) = medkit.dicom.read(folder).volumes
        return volume

    def predict(self, source: Any, anew: bool) -> Any:
        from medkit.data.grid import Grid
        from medkit.data.volume import Volume

        grid = Grid(source.array.shape, source.affine)
        return self.bundle.predict([Volume(source.array, grid, source.name)])

    def write(self, source: Any, labels: Any, objects: Path) -> None:
        from medkit.dicom.writing.results import ResultKind, write_results

        write_results(
            source,
            labels.labels,
            labels.grid.affine,
            self.bundle.maker,
            objects,
            kinds=[ResultKind.SEGMENTATION],
        )


WAYS = {"MONAI Deploy": Operators, "medkit": Medkit}


def segments(bundle: Path) -> list[Any]:
    """What the operator's writer is told of each label, from the bundle's metadata."""
    from monai.deploy.operators.dicom_seg_writer_operator import SegmentDescription
    from pydicom.sr.coding import Code

    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    names = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    found = []
    for label, codes in sorted(metadata["segment_codes"].items(), key=lambda entry: int(entry[0])):
        category, kind = (
            Code(codes[key]["value"], "SCT", codes[key]["meaning"]) for key in ("category", "type")
        )
        described = SegmentDescription(
            segment_label=names[label],
            segmented_property_category=category,
            segmented_property_type=kind,
            algorithm_name=bundle.name,
            algorithm_family=Code("123110", "DCM", "Artificial Intelligence"),
            algorithm_version=metadata["version"],
        )
        found.append(described)
    return found


def answer(way: Way, task: dict[str, Any]) -> dict[str, Any]:
    """Does one task; what is raised is a refusal, with the error's name and text."""
    told: dict[str, Any] = {"refusals": 0, "repaired": False, "error": "", "seconds": {}}
    try:
        if task["do"] == "read":
            volumes, told["refusals"] = way.volumes(Path(task["folder"]))
            arrays = {f"a{number}": array for number, (array, _) in enumerate(volumes)}
            affines = {f"m{number}": affine for number, (_, affine) in enumerate(volumes)}
            np.savez(task["output"], **arrays, **affines)
        else:
            told["seconds"] = segment(way, task)
    except Exception as raised:
        told["error"] = f"{type(raised).__name__}: {' '.join(str(raised).split())}"[:200]
        told["refusals"] += 1
    return told


def segment(way: Way, task: dict[str, Any]) -> dict[str, float]:
    """Seconds of each part."""
    import torch

    torch.set_num_threads(task.get("threads", 1))
    start = time.perf_counter()
    source = way.read(Path(task["folder"]))
    read = time.perf_counter()
    labels = way.predict(source, task.get("anew", False))
    predicted = time.perf_counter()
    way.write(source, labels, Path(task["objects"]))
    return {"read": read - start, "predict": predicted - read, "write": time.perf_counter() - predicted}


def main() -> None:
    kind, bundle = WAYS[sys.argv[1]], Path(sys.argv[2])
    ways: list[Way] = []

    def hello() -> dict[str, str]:
        ways.append(kind(bundle))
        return {"versions": ", ".join(f"{name} {version(name)}" for name in kind.VERSIONS)}

    serve(hello, lambda task: answer(ways[0], task))


if __name__ == "__main__":
    main()
