"""The tables of ``batch.py`` from what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batch_soak import Reading, Slope

PARTS = ("reading", "inference", "writing", "sending")
_NONE = "-"


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def throughput_table(rows: Mapping[str, Mapping[str, Any]], loop: str) -> str:
    """A row for each way.

    Args:
        rows: by name ``{"studies", "hour"}``, and ``"startup"``, ``"cpu"``, ``"cores"`` and ``"load"`` where known.
        loop: the name of the way that the others are compared with.
    """
    heads = [
        "way",
        "studies",
        "start-up, s",
        "studies an hour",
        "times the loop",
        "CPU s a study",
        "cores busy",
        "load",
    ]
    return table(
        heads,
        [
            [
                name,
                str(row["studies"]),
                number(row.get("startup"), 1),
                number(row["hour"], 0),
                number(row["hour"] / rows[loop]["hour"], 1),
                number(row.get("cpu"), 2),
                number(row.get("cores"), 2),
                number(row.get("load"), 1),
            ]
            for name, row in rows.items()
        ],
    )


def share_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Seconds of each part for a study, and its share, of the ways of which they are known."""
    lines = []
    for name, row in rows.items():
        found = row.get("parts")
        if found:
            whole = sum(found.values())
            cells = [
                f"{found[part]:.2f} ({found[part] / whole:.0%})" if part in found else _NONE for part in PARTS
            ]
            lines.append([name, *cells])
    return table(["way", *PARTS], lines)


def scaling_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Studies an hour by workers, as a part of what so many times one worker would give, and the same for a CPU second.

    Args:
        rows: ``{"workers", "hour", "cpu", "cores"}``, one of them of one worker.
    """
    found = {row["workers"]: row for row in rows}
    lines = [
        [
            str(workers),
            number(row["hour"], 0),
            number(row["hour"] / workers / found[1]["hour"], 2),
            number(row["cores"], 2),
            number(found[1]["cpu"] / row["cpu"], 2),
        ]
        for workers, row in sorted(found.items())
    ]
    each = "of what one worker gives, for each"
    return table(["workers", "studies an hour", each, "cores that they got", f"{each} CPU second"], lines)


def fault_table(faults: Mapping[str, Sequence[str]]) -> str:
    """How often each kind of fault was found, and the first of each."""
    lines = [[kind, str(len(found)), found[0] if found else _NONE] for kind, found in faults.items()]
    return table(["what must not be", "found", "the first"], lines)


def count_table(head: str, counts: Mapping[Any, int]) -> str:
    """How often each thing was, the commonest first."""
    lines = [[_words(name), str(count)] for name, count in sorted(counts.items(), key=lambda one: -one[1])]
    return table([head, "times"], lines)


def _words(name: Any) -> str:
    return ", ".join(str(part) for part in name if part) if isinstance(name, tuple) else str(name)


def number(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def slope_table(slopes: Mapping[str, Slope], judged: Mapping[str, Slope], readings: Sequence[Reading]) -> str:
    """Growth of each process, and the least and most of what it had open.

    Args:
        slopes: by process.
        judged: those that count, by process or by a name for several.
        readings: in their order.
    """
    lines = []
    for name, slope in slopes.items():
        mine = [one for one in readings if name in one.rss]
        files, threads = [one.files[name] for one in mine], [one.threads[name] for one in mine]
        lines.append(
            [
                name,
                _interval(slope),
                _verdict(judged[name]) if name in judged else "",
                number(mine[-1].rss[name], 0),
                f"{min(files[len(files) // 4 :])} to {max(files)}, {files[-1]} at the end",
                f"{min(threads[len(threads) // 4 :])} to {max(threads)}, {threads[-1]} at the end",
            ]
        )
    lines += [
        [name, _interval(slope), _verdict(slope), "", "", ""]
        for name, slope in judged.items()
        if name not in slopes
    ]
    heads = ["process", "MiB for 1000 studies", "", "MiB at the end", "open files", "threads"]
    return table(heads, lines)


def _interval(slope: Slope) -> str:
    return f"{slope.mean:+.2f} ({slope.low:+.2f} to {slope.high:+.2f})"


def _verdict(slope: Slope) -> str:
    return "grows" if slope.grows else "flat"


def time_table(readings: Sequence[Reading], rows: int = 12) -> str:
    """Memory and sizes over time, of readings that have sizes.

    Args:
        readings: in their order.
        rows: no more than so many.
    """
    full = [one for one in readings if one.sizes]
    step = max(1, -(-len(full) // rows))
    shown = [*full[::step], *([full[-1]] if (len(full) - 1) % step else [])]
    names = list(dict.fromkeys(name for one in full for name in one.rss))
    parts = list(full[0].sizes) if full else []
    heads = [
        "minutes",
        "studies",
        *(f"{name}, MiB" for name in names),
        *(f"{part}, MiB on disk" for part in parts),
    ]
    lines = [
        [
            number(one.seconds / 60, 1),
            str(one.ended),
            *(number(one.rss.get(name), 0) for name in names),
            *(number(one.sizes[part], 1) for part in parts),
        ]
        for one in shown
    ]
    return table(heads, lines)
