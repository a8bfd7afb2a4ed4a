"""The pages that ``batch.py`` writes, one a form, from what was measured."""

from collections.abc import Mapping
from typing import Any

from batch_faults import BOTH, SERVICE, SETTINGS, WORKER, Run
from batch_soak import KEPT_SECONDS, SENDERS, WARM_UP, Soak
from batch_surroundings import DISK_MIB
from batch_tables import (
    count_table,
    fault_table,
    scaling_table,
    share_table,
    slope_table,
    throughput_table,
    time_table,
)
from batch_throughput import BUNDLE
from machine import describe


def throughput_page(rows: Mapping[str, Mapping[str, Any]], images: str) -> str:
    """Every way, the workers' scaling, and where the time goes.

    Args:
        rows: see :func:`batch_tables.throughput_table`; the first is what the others are compared with.
        images: what was segmented.
    """
    loop = next(iter(rows))
    return _page(
        "# Studies an hour",
        f"{describe()}. Made by `benchmarks/batch.py --form throughput`.",
        f"Small studies ({images} around a hippocampus, about 35 slices of 35 x 50 pixels), `{BUNDLE}` as it is "
        f"shipped, on CPUs. {THROUGHPUT.strip()}",
        throughput_table(rows, loop),
        "## With more workers",
        scaling_table(row for row in rows.values() if "workers" in row),
        SCALING,
        "## Where the time goes",
        SHARES,
        share_table(rows),
    )


def faults_page(run: Run, seed: int, workers: int) -> str:
    """What happened, and whether anything was lost, doubled, changed or left without its reason."""
    broken = sum(bool(sample.way) for sample in run.samples)
    kills = sum(run.happened[name] for name in (WORKER, SERVICE, BOTH))
    outcome = (
        f"GOOD: every good study is at both destinations once, {_broken_ends(broken, run.verdicts.excused)}"
    )
    if not run.good:
        outcome = "FAILED: see below" if run.ended else "FAILED: studies had not ended when patience did"
    limits = SETTINGS["limits"]
    told = {name: limits[name] for name in ("stage_seconds", "attempts", "retry_seconds")}
    return _page(
        "# Batches under faults",
        f"{describe()}. Made by `benchmarks/batch.py --form faults --studies {len(run.samples)} --seed {seed}`.",
        f"**{outcome}.** {len(run.samples)} studies, {broken} of them broken, {workers} workers, `{BUNDLE}`; {kills} "
        f"kills (-9); {run.seconds / 60:.0f} minutes; the service ended with {run.exit_code} when it was asked to.",
        FAULTS.format(disk=DISK_MIB, low=limits["free_gib"] * 1024, **told),
        fault_table(run.verdicts.faults),
        "## What happened",
        count_table("what", run.happened),
        f"At {run.at_work} of these moments workers were at work on studies. The scanner had to send again "
        f"{run.sent_again} times. {run.verdicts.withdrawn} objects were taken back for later ones.",
        "## How studies ended",
        count_table("state and reason", run.ends),
        "## What the ledger tells of the way there",
        count_table("reason of a move", run.codes),
    )


def _broken_ends(broken: int, excused: int) -> str:
    if not excused:
        return "every broken one ended for its reason"
    explained = f"{broken - excused} broken ones ended for their reason"
    return f"{explained}, {excused} killed at every attempt that did not show it"


def soak_page(soak: Soak, workers: int) -> str:
    """Memory, files, threads and sizes over time."""
    outcome = "Flat" if soak.good else "NOT FLAT"
    if soak.delivered < soak.samples:
        outcome = "FAILED: not all studies were delivered"
    return _page(
        "# Many studies through one service",
        f"{describe()}. Made by `benchmarks/batch.py --form soak --studies {soak.samples}`.",
        f"**{outcome}.** {soak.delivered} of {soak.samples} studies delivered in {soak.seconds / 60:.0f} minutes, "
        f"{3600 * soak.samples / soak.seconds:.0f} an hour, by {workers} workers that nobody started again; instances "
        f"of {soak.purged} were removed by the end.",
        SOAK.format(senders=SENDERS, kept=KEPT_SECONDS),
        "## Growth",
        SLOPES.format(warm_up=WARM_UP),
        slope_table(soak.slopes, soak.judged, soak.readings),
        "## Over time",
        time_table(soak.readings),
    )


def _page(*parts: str) -> str:
    return "\n\n".join(part.strip() for part in parts) + "\n"


THROUGHPUT = """\
"One process a study" is the loop that the others are compared with, at its cheapest: a script that reads a series,
segments it and writes the objects, with no ledger, no copy and nothing read back. It writes segmentation, report and
picture, as medkit's service does; MONAI Deploy's operators write a segmentation alone, to be compared with the rows that
say so. They are called by hand in processes that stay, with their network in memory, outside of Holoscan's runtime.
medkit's workers have one thread each unless the row says more; studies are in its store when their time begins (but for
`medkit batch run`, which takes them from the files), and it ends when they are delivered to a folder, read back and
compared. On a Dask cluster, scheduler, workers and service have the named cores together. An hour is that of the steady
rate; start-up, to the moment when all workers are ready, stands apart. CPU seconds and cores are in every row those of
all processes of its way: the service and a scheduler count beside the workers.
"""

SCALING = """\
So many workers of one thread on so many cores, with the service itself on the same cores, and counted with them. Where
other programs take a part of the cores (see the load), the last column tells what more workers cost.
"""

SHARES = """\
Seconds for a study, and the share of their sum. The parts of one study follow one another, those of several overlap,
and they wait for each other, so the sum is more than the time that a study takes.
"""

FAULTS = """\
Half of the studies come over C-STORE, half through a watched folder, while faults happen at random moments. Results
go to an Orthanc over DIMSE and to a folder. The folder of the batch and that of results lie on a disk of {disk} MiB
of their own (tmpfs), which is filled until less is free than the service keeps ({low:.0f} MiB), and until nothing is.
A stage of more than {stage_seconds} s counts as hanging; {attempts} attempts, the first wait {retry_seconds} s. The
bundle is the shipped one with a step more, by which images of one size kill their worker, and those of another take
for ever. A broken study may end as `worker-died` where kills hit the attempts that did not show what is wrong
with it, and is counted above; a good one has to get through.

Every object at both destinations is read, Orthanc's by its own interface, and compared with what an undisturbed run
of the same studies makes: UIDs and contents, each once. Then `medkit batch verify`, and a search for files that are
written half, after the service was stopped, started and stopped once more.
"""

SOAK = """\
Generated studies of 14 slices, half over C-STORE from {senders} scanners, half through a watched folder that is
emptied; results to an Orthanc over DIMSE. Instances and results are kept for {kept} s after a study's end, then
removed; what stays of a result, its UIDs, is a small file.
"""

SLOPES = """\
MiB of resident memory for 1000 studies, after the first {warm_up:.0%} of them: a straight line through the medians of
20 blocks, with its interval of 95 %. It counts as growth where the interval lies above 0 and the line above 1 MiB.
Workers are one program that runs several times, so their mean counts, with the interval that follows from how they
differ: what one of them freed and kept for itself, as allocators do, is no growth of all.
"""
