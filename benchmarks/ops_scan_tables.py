"""The part of ``ops.py`` on the selective scan: its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import version

from ops_scan import CASES, COLD_BYTES, CONDITIONS, DIRECTIONS, Result, measure, thread_counts
from ops_scan_ways import RIVALS, STATES, ways

# Forward takes at least so many for 16 states of a step in one vector, and a core starts so many of them in a cycle.
INSTRUCTIONS, AT_ONCE = 13, 2
LEGEND = (
    f'With {STATES} states and the skip; "all" adds bias, softplus and gate. Backward gives all gradients. A copy, to '
    "memory that is there already, moves as many bytes as must be moved at least: forward reads the arguments and "
    "writes the output; backward reads the arguments again and the gradient by the output, and writes a gradient for "
    "each argument. Kernels alone: without PyTorch's operator and autograd around them."
)
LEGENDS = {
    "cpu": (
        "Warm: the same arguments each time, of which the cache holds what it can; rivals are timed so. Cold: other "
        f"arguments and another result each time, {COLD_BYTES >> 20} MiB of either before the same memory comes again."
    ),
    "cuda": "The GPU's cache is overwritten before each call. Of mamba-ssm, too, the kernels alone are called.",
}


def table(results: list[Result], heads: Iterable[str], cells: Callable[[Result, str], Iterable[str]]) -> str:
    """A line for each case and direction."""
    head = ["batch x channels x length", "type", "arguments", "direction", *heads]
    lines = [head, ["---"] * len(head)]
    for result in results:
        lines += [[*result.case.cells(), direction, *cells(result, direction)] for direction in DIRECTIONS]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def names(device: str) -> list[str]:
    return [way.name for way in ways(device)]


def ratios(results: list[Result], device: str) -> str:
    rivals, conditions, threads = names(device)[1:], CONDITIONS[device], thread_counts(device)[-1]

    def cells(result: Result, direction: str) -> list[str]:
        ours, copy = (
            [(name, direction, condition, threads) for condition in conditions] for name in ("medkit", "copy")
        )
        theirs = [(name, direction, conditions[0], threads) for name in rivals]
        return [*(result.ratio(key, ours[0]) for key in theirs), *map(result.ratio, ours, copy)]

    heads = [f"{name} / medkit" for name in rivals]
    return table(results, [*heads, *(f"medkit / copy, {condition}" for condition in conditions)], cells)


def times(results: list[Result], device: str) -> str:
    conditions, threads = CONDITIONS[device], thread_counts(device)[-1]
    columns = [(name, condition) for name in ("medkit", "copy") for condition in conditions]
    columns += [(name, conditions[0]) for name in names(device)[1:]]

    def cells(result: Result, direction: str) -> list[str]:
        return [result.milliseconds((name, direction, condition, threads)) for name, condition in columns]

    return table(results, [f"{name}, {condition}" for name, condition in columns], cells)


def scaling(results: list[Result], counts: list[int]) -> str:
    def cells(result: Result, direction: str) -> list[str]:
        ours, copy = (
            [(name, direction, "cold", threads) for threads in counts] for name in ("medkit", "copy")
        )
        speed_ups = [result.ratio(ours[0], key) for key in ours[1:]]
        return [*speed_ups, *map(result.ratio, ours, copy), *map(result.milliseconds, ours)]

    heads = [f"speed-up with {threads}" for threads in counts[1:]]
    heads += [f"medkit / copy with {threads}" for threads in counts]
    return table(results, [*heads, *(f"ms with {threads}" for threads in counts)], cells)


def arithmetic(results: list[Result], counts: list[int], clock: float | None) -> list[str]:
    """What forward takes for 16 states of a step, beside the least that its instructions take."""
    longest = max(results, key=lambda result: result.case.length)
    if ("medkit", "forward") in longest.wrong:
        return []
    cycles, updates = INSTRUCTIONS / AT_ONCE, longest.case.states / 16
    bound = f", {cycles / clock:.2f} ns at {clock} GHz" if clock else ""
    taken = (
        f"{1e9 * threads * longest.seconds['medkit', 'forward', 'cold', threads] / updates:.2f} with {threads}"
        for threads in counts
    )
    return [
        f"Sixteen states of a step cost forward at least {INSTRUCTIONS} vector instructions, of which a core starts at "
        f"most {AT_ONCE} a cycle: {cycles} cycles{bound}. Each thread took, in ns, at {longest.case.cells()[0]}: "
        f"{', '.join(taken)}."
    ]


def remarks(results: list[Result], device: str) -> str:
    """The bandwidth, versions, and what is left out."""
    direction, threads = list(DIRECTIONS)[-1], thread_counts(device)[-1]
    largest = max(results, key=lambda result: result.moved[direction])
    rate = largest.moved[direction] / largest.seconds["copy", direction, "cold", threads]
    used = ", ".join(f"{name} {version(name)}" for name in names(device) if RIVALS.get(name) is not None)
    reasons = {(way, reason): None for result in results for (way, _), reason in result.left_out.items()}
    lines = [
        f"The largest copy moves {rate / 1e9:.0f} GB/s, bytes read and bytes written.",
        *([f"Rivals: {used}."] if used else []),
        *(f"{way} left out: {reason}." for way, reason in reasons),
    ]
    return "\n".join(f"- {line}" for line in lines)


def section(rounds: int, device: str, clock: float | None) -> tuple[list[str], list[str]]:
    """Paragraphs of the document, and what is wrong."""
    results, counts = [measure(case, rounds, device) for case in CASES[device]], thread_counts(device)
    text = [
        "## Selective scan",
        f"{LEGEND} {LEGENDS[device]}",
        ratios(results, device),
        remarks(results, device),
    ]
    text += ["### Milliseconds", times(results, device)]
    if len(counts) > 1:
        text += ["### medkit with fewer threads, cold", scaling(results, counts)]
    if device == "cpu":
        text += arithmetic(results, counts, clock)
    return text, [
        f"{way}, {direction}, {' '.join(result.case.cells())}: {fault}"
        for result in results
        for (way, direction), fault in result.wrong.items()
    ]
