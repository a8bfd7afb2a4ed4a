"""How much of the contrast is left in a bundle's features, and how far one layer on top of them gets.

    MEDKIT_DATA=... python benchmarks/brain_features.py [--samples 24] [--pictures DIR] [--weights FILE]

- Synthetic heads of label maps that the network did not learn from, each in two mild and two severe versions: how far
  features of one head lie apart over versions, in parts of what those of heads of other maps do;
- the same of a real patient in four contrasts, beside another one;
- four tasks of one layer, learned on heads of the other maps: T1 synthesis, segmentation, bias field, super-resolution.

All beside the same network untrained, and beside intensities alone. What was measured is in RUNS/results.jsonl, by the
weights, the settings and the code: a run that was stopped goes on. `--pictures` draws features and answers.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from brain_features_distance import Person, ratios, some_places, structures_of_blocks
from brain_features_heads import HELD_OUT, LEARNED, Example, LabelMaps, Size, example, of_each
from brain_features_patients import Patients
from brain_features_pictures import draw_patient, draw_tasks, draw_versions
from brain_features_sources import sources
from brain_features_tables import Setting, document
from brain_features_tasks import TASKS, baseline_scores, scores, train
from brain_heads import held_out_maps
from command_line import command_line
from results import Results
from sources import sources_sha256
from timing import note
from torch import Tensor

import medkit
from medkit.errors import MedkitError
from medkit.inference.predictor import LoadedBundle
from medkit.networks.features import FeatureNetwork
from medkit.transforms.synthesis.brain import intra_subject_brain_generator

NAME = "brain_anatomy_segmentation"
_PARTS = ("data", "inference", "networks", "ops", "transforms")
_SCRIPTS = ("heads", "sources", "distance", "patients", "tasks")
_SEED_OF_PERSONS, _SEED_OF_LEARNING, _SEED_OF_TESTS = 1, 2, 3


class Measures:
    """All figures of one bundle, found once.

    Args:
        bundle: with its weights.
        results: what was found before.
        options: of the command line.
    """

    def __init__(self, bundle: LoadedBundle, results: Results, options: argparse.Namespace) -> None:
        self.bundle, self.results, self.options = bundle, results, options
        self.sources = sources(bundle)
        self.size: Size = (options.size,) * 3
        self.heads = max(3, options.samples // 2)
        scripts = [Path(__file__).with_name(f"brain_features_{name}.py") for name in _SCRIPTS]
        code = sources_sha256(_PARTS, [Path(__file__), *scripts])
        self.settings = {"bundle": bundle.digest, "code": code}

    @cached_property
    def maps(self) -> LabelMaps:
        return LabelMaps(self.bundle.folder)

    @cached_property
    def held_out(self) -> list[Tensor]:
        return self.maps.of_fold(HELD_OUT)

    @cached_property
    def versions(self) -> list[tuple[Tensor, Tensor]]:
        """Images ``(V, 1, D, H, W)`` of each head, and its classes."""
        generator = intra_subject_brain_generator(self.size)

        def make(label_map: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
            made = generator(label_map[None], rng)
            return made.image.transpose(0, 1), self.maps.classes(made.labels[0, 0])

        return of_each(self.held_out, self.heads, _SEED_OF_PERSONS, make)

    def examples(self, maps: Sequence[Tensor], count: int, seed: int) -> list[Example]:
        return of_each(
            maps, count, seed, lambda label_map, rng: example(label_map, rng, self.size, self.maps)
        )

    @cached_property
    def learned(self) -> list[Example]:
        return self.examples(self.maps.of_fold(LEARNED), self.options.samples, _SEED_OF_LEARNING)

    @cached_property
    def tests(self) -> list[Example]:
        return self.examples(self.held_out, self.heads, _SEED_OF_TESTS)

    @cached_property
    def patients(self) -> Patients:
        return Patients(self.bundle, next(iter(self.sources.values())).block)

    def persons(self, source: FeatureNetwork) -> dict[str, list[float]]:
        rng, found = torch.Generator().manual_seed(0), []
        for images, classes in self.versions:
            structures = structures_of_blocks(classes, source.block).flatten()
            places = some_places(len(structures), torch.Generator().manual_seed(0))
            with torch.no_grad():
                features = source.features(images).flatten(2)[..., places]
            found.append(Person(features, structures[places].expand(len(images), -1)))
        return ratios(found, [number % len(self.held_out) for number in range(len(found))], rng)

    def layer(self, task: str, source: FeatureNetwork) -> Any:
        classes = int(self.bundle.output_format["num_channels"])
        return train(task, source, self.learned, classes, self.options.steps)

    def found(self, what: str, source: str, make: Any) -> dict[str, Any]:
        heads = {} if what == "patient" else {"samples": self.options.samples, "size": self.options.size}
        own = {**heads, **({"steps": self.options.steps} if what in TASKS else {})}
        note(f"{what}: {source}")
        return self.results.get_or_make({"what": what, "source": source, **own, **self.settings}, make)

    def distances(self) -> dict[str, dict[str, list[float]]]:
        return {
            name: self.found("persons", name, lambda source=source: self.persons(source))
            for name, source in self.sources.items()
        }

    def patient(self) -> dict[str, dict[str, float]]:
        return {
            name: self.found("patient", name, lambda source=source: self.patients.measured(source))
            for name, source in self.sources.items()
        }

    def tasks(self) -> dict[str, dict[str, list[float]]]:
        """Scores of each head, by task and source; the baseline's under its name."""
        table: dict[str, dict[str, list[float]]] = {}
        for task, its in TASKS.items():
            rows = {}
            for name, source in self.sources.items():

                def make(task: str = task, source: FeatureNetwork = source) -> dict[str, Any]:
                    return {"scores": scores(task, self.layer(task, source), self.tests)}

                rows[name] = self.found(task, name, make)["scores"]
            if its.baseline:
                rows[its.baseline] = self.found(
                    task, its.baseline, lambda task=task: {"scores": baseline_scores(task, self.tests)}
                )["scores"]
            table[task] = rows
        return table

    def draw(self, folder: Path) -> None:
        draw_versions(self.sources, self.versions[0][0], folder / "versions.png")
        draw_patient(self.sources, self.patients.scans, folder / "patient.png")
        models = {
            task: {name: self.layer(task, source) for name, source in self.sources.items()} for task in TASKS
        }
        draw_tasks(models, self.tests[0], folder / "tasks.png")


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = command_line(__doc__, __file__)
    parser.add_argument("--bundle", default=NAME)
    parser.add_argument("--weights", type=Path, help="others than the bundle's own, for a trial")
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/brain_features"))
    options = parser.parse_args(words)
    if min(options.samples, options.steps) < 1 or options.size < 16:
        parser.error("expected a sample and a step at least, and a size of 16 or more")
    return options


def main(words: Sequence[str] | None = None) -> None:
    options = arguments(words)
    try:
        bundle = medkit.load(
            options.bundle, device="cpu", weights=[options.weights] if options.weights else ()
        )
        bundle.check_asked(probabilities=False, uncertainty=False, features=True)
        if not options.weights:
            held_out_maps(bundle.folder)  # refuses what learned from them
        measures = Measures(bundle, Results(options.runs / "results.jsonl"), options)
        text = document(
            Setting(
                bundle.folder.name,
                bundle.digest,
                options.samples,
                measures.heads,
                options.size,
                options.steps,
                len(measures.held_out),
                not options.weights,
            ),
            measures.distances(),
            measures.patient(),
            measures.tasks(),
        )
        options.output.write_text(text)
        print(text)
        if options.pictures:
            measures.draw(options.pictures)
    except MedkitError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
