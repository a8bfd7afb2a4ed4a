"""What of a person survives medkit's de-identification and that of three libraries, by where it stood in an image.

    python benchmarks/deidentifiers.py [--others FOLDER] [--output benchmarks/deidentifiers.md]

``tests/dicom/phi.py`` puts marks into a CT slice: names, words, dates and UIDs that nothing else has. A mark that is
found in the bytes of the file that a tool writes survived. The libraries are no part of medkit's environment:
``--others`` names a folder with them (``pip install --no-deps --target FOLDER dicom-anonymizer dicognito deid``). One
that is not there has no column. All run with their defaults, dicom-anonymizer with the newest table that it has.
"""

import importlib.metadata
import io
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from command_line import command_line
from pydicom import dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.tag import Tag

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from medkit.dicom.confidentiality import Deidentifier, edition  # noqa: E402
from medkit.dicom.deidentification import deidentify  # noqa: E402
from tests.dicom.phi import Marked, profile  # noqa: E402
from tests.dicom_series.stacks import Stack, save  # noqa: E402

DATES = {"DA", "TM", "DT", "AS"}
# Words that people type, of which the standard's table does not speak.
OTHER_WORDS = (
    "LUTExplanation",
    "WindowCenterWidthExplanation",
    "TextValue",
    "SegmentLabel",
    "EventTimerNames",
)


def of_table(made: Marked, kinds: Callable[[str], bool], target: Dataset) -> None:
    """Attributes of the standard's table, of such kinds of values."""
    for tag in profile():
        if dictionary_has_tag(tag) and Tag(tag).group >= 8:
            kind = dictionary_VR(Tag(tag)).split(" ")[0]
            if kind != "SQ" and kinds(kind):
                made.put(target, Tag(tag), kind)


def nested(made: Marked) -> None:
    item = Dataset()
    of_table(made, lambda kind: kind not in {"UI", *DATES}, item)
    made.dataset.AnatomicRegionSequence = [item]


def report_words(made: Marked) -> None:
    made.put(made.dataset, Tag("ContentSequence"), "SQ")


def private(made: Marked) -> None:
    made.private(made.dataset)


def private_nested(made: Marked) -> None:
    made.dataset.AnatomicRegionSequence = [Dataset()]
    made.private(made.dataset.AnatomicRegionSequence[0])


def other_words(made: Marked) -> None:
    for name in OTHER_WORDS:
        made.put(made.dataset, Tag(name), dictionary_VR(Tag(name)))


def overlays(made: Marked) -> None:
    for group in (0x5000, 0x6000):
        made.dataset.add_new(group << 16 | 0x0022, "LO", made.mark("LO"))
        made.dataset.add_new(group << 16 | 0x3000, "OW", made.mark("OB"))
        made.dataset.add_new(group << 16 | 0x4000, "LT", made.mark("LT"))


def file_header(made: Marked) -> None:
    made.dataset.file_meta.SourceApplicationEntityTitle = made.mark("AE")
    made.dataset.file_meta.PrivateInformationCreatorUID = made.mark("UI")
    made.dataset.file_meta.PrivateInformation = made.mark("OB")
    made.dataset.preamble = made.mark("LO").encode().ljust(128)


PLACES: dict[str, Callable[[Marked], None]] = {
    "words of the standard's table": lambda made: of_table(
        made, lambda kind: kind not in {"UI", *DATES}, made.dataset
    ),
    "dates, times and ages of the table": lambda made: of_table(made, DATES.__contains__, made.dataset),
    "UIDs of the table": lambda made: of_table(made, "UI".__eq__, made.dataset),
    "words of the table within a sequence": nested,
    "content of a report": report_words,
    "private elements": private,
    "private elements within a sequence": private_nested,
    "words that the table does not name": other_words,
    "overlays and curves": overlays,
    "the file's own header": file_header,
}


def by_medkit(source: Path, target: Path) -> None:
    folder = target.parent / f"{target.stem}-folder"
    deidentify(source, folder, Deidentifier(b"sixteen bytes or"))
    (written,) = folder.rglob("*.dcm")
    target.write_bytes(written.read_bytes())


def by_anonymizer(source: Path, target: Path) -> None:
    module = importlib.import_module("dicomanonymizer.simpledicomanonymizer")
    newest = lambda: module.initialize_actions("dicomfields_2026c")  # noqa: E731
    module.anonymize_dicom_file(str(source), str(target), base_rules_gen=newest)


def by_dicognito(source: Path, target: Path) -> None:
    dataset = dcmread(source)
    importlib.import_module("dicognito.anonymizer").Anonymizer(seed="a seed").anonymize(dataset)
    dataset.save_as(target)


def by_deid(source: Path, target: Path) -> None:
    (cleaned,) = importlib.import_module("deid.dicom").replace_identifiers([str(source)], save=False)
    cleaned.save_as(target)


TOOLS: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    "medkit": ("medkit-imaging", by_medkit),
    "dicom-anonymizer": ("dicom-anonymizer", by_anonymizer),
    "dicognito": ("dicognito", by_dicognito),
    "deid": ("deid", by_deid),
}


def survived(place: str, tool: Callable[[Path, Path], None], folder: Path) -> str:
    """How many marks of how many, or why there is no file."""
    made = Marked(Stack(np.random.default_rng(0)).datasets[0])
    PLACES[place](made)
    save(folder / "in.dcm", made.dataset)
    before = (folder / "in.dcm").read_bytes()
    marks = [mark for mark in made.marks if mark in before]
    assert len(marks) == len(made.marks), f"{place}: not all marks were written"
    try:
        tool(folder / "in.dcm", folder / "out.dcm")
    except Exception as error:  # whatever a library raises is its answer
        return type(error).__name__
    after = (folder / "out.dcm").read_bytes()
    return f"{sum(mark in after for mark in marks)} of {len(marks)}"


def there(distribution: str) -> str | None:
    try:
        return version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def main() -> None:
    parser = command_line(__doc__, __file__)
    parser.add_argument("--others", type=Path)
    asked = parser.parse_args()
    if asked.others:
        sys.path.append(str(asked.others))
    warnings.simplefilter("ignore")
    logging.disable()
    tools = {name: (there(package), tool) for name, (package, tool) in TOOLS.items() if there(package)}
    lines = [
        "# What survives de-identification",
        "",
        "Marks that are found in the file that a tool wrote, by where they stood. Made by",
        f"`benchmarks/deidentifiers.py`, with each tool's defaults. The standard's table: {edition()}",
        "",
        "| where | " + " | ".join(f"{name} {number}" for name, (number, _) in tools.items()) + " |",
        "|---|" + "---|" * len(tools),
    ]
    for place in PLACES:
        cells = []
        for _, tool in tools.values():
            with tempfile.TemporaryDirectory() as folder, io.StringIO() as said:
                sys.stdout, out = said, sys.stdout
                try:
                    cells.append(survived(place, tool, Path(folder)))
                finally:
                    sys.stdout = out
        lines.append(f"| {place} | " + " | ".join(cells) + " |")
    asked.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
