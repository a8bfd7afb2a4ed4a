"""How fast batches go, whether anything is lost when all that can die dies, and whether memory stays flat.

    python benchmarks/batch.py --form throughput [--studies N] [--deploy PYTHON] [--work runs/batch]
    python benchmarks/batch.py --form faults [--studies N] [--seed N]
    python benchmarks/batch.py --form soak [--studies N]

Each form writes ``batch_FORM.md`` beside this script (``--output``). ``throughput`` goes on where it was stopped:
what it has measured stays in ``--work``, as do the studies that the others make. ``faults`` and ``soak`` need Orthanc
and, for a network of its own and a disk that gets full, root. They end with 1 where a study was lost, doubled,
changed or left without its reason, or where memory grows. ``--deploy`` names an interpreter with MONAI Deploy App
SDK, see ``monai_deploy.py``. With MEDKIT_DATA the images of ``throughput`` are real; without it they are phantoms.
"""

import argparse
import os
import sys
from pathlib import Path

from command_line import command_line
from results import Results

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from batch_faults import run_faults  # noqa: E402
from batch_pages import faults_page, soak_page, throughput_page  # noqa: E402
from batch_soak import run_soak  # noqa: E402
from batch_throughput import Bench, rows  # noqa: E402

STUDIES = {"throughput": 160, "faults": 200, "soak": 2000}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--form", choices=list(STUDIES), required=True)
    usual = ", ".join(f"{count} for {form}" for form, count in STUDIES.items())
    parser.add_argument("--studies", type=int, help=f"by default {usual}")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--cores", type=int, default=cores, help="workers at most; by default all cores")
    parser.add_argument("--deploy", help="interpreter that has MONAI Deploy App SDK")
    parser.add_argument("--seed", type=int, default=1, help="of the faults")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "batch")
    parser.add_argument("--output", type=Path, help="of the table")
    arguments = parser.parse_args()
    arguments.studies = arguments.studies or STUDIES[arguments.form]
    arguments.work = arguments.work.absolute()
    arguments.work.mkdir(parents=True, exist_ok=True)
    text, good = {"throughput": throughput, "faults": faults, "soak": soak}[arguments.form](arguments)
    output = arguments.output or Path(__file__).with_name(f"batch_{arguments.form}.md")
    output.write_text(text, encoding="utf-8")
    sys.exit(0 if good else 1)


def throughput(arguments: argparse.Namespace) -> tuple[str, bool]:
    """The page, and whether all is well."""
    results = Results(arguments.work / "throughput.jsonl")
    bench = Bench(arguments.work, arguments.studies, arguments.cores, arguments.deploy, results)
    found = {}
    for name, row in rows(bench):
        found[name] = row
        print(name, row, flush=True)
    return throughput_page(found, "real crops" if "MEDKIT_DATA" in os.environ else "phantoms"), True


def faults(arguments: argparse.Namespace) -> tuple[str, bool]:
    """The page, and whether nothing was lost, doubled, changed or left without its reason."""
    run = run_faults(arguments.work, arguments.studies, arguments.seed, arguments.cores)
    return faults_page(run, arguments.seed, arguments.cores), run.good


def soak(arguments: argparse.Namespace) -> tuple[str, bool]:
    """The page, and whether memory is flat."""
    found = run_soak(arguments.work, arguments.studies, arguments.cores)
    return soak_page(found, arguments.cores), found.good


if __name__ == "__main__":
    main()
