"""The tables of ``monai_deploy.py`` from its rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Values = Mapping[str, Any]


def same_table(rows: Sequence[Values], theirs: str, ours: str) -> str:
    """A row for each study: are the labels the same, and what does dciodvfy say of the objects?

    Args:
        rows: ``{"name", "shape", "error", "faults", "labelled"}``, and ``"differ"`` where both made a segmentation.
        theirs: name of one way.
        ours: name of the other.
    """
    lines = [
        f"| study | voxels | labelled, {theirs} | labelled, {ours} | differ | errors by dciodvfy, {theirs} "
        f"| the same, {ours} |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        size = "x".join(map(str, row["shape"]))
        labelled = [str(row["labelled"].get(name, row["error"][name])) for name in (theirs, ours)]
        differ = "-" if "differ" not in row else str(row["differ"])
        faults = ["-" if row["faults"][name] is None else str(row["faults"][name]) for name in (theirs, ours)]
        lines.append("| " + " | ".join([row["name"], size, *labelled, differ, *faults]) + " |")
    return "\n".join(lines)


def time_table(rows: Sequence[Values], theirs: str, ours: str) -> str:
    """A row for each study: seconds of the parts, theirs / ours, and the ratio of the whole.

    Args:
        rows: ``{"name", "seconds": {way: {part: seconds}}}``; ``"anew"`` is theirs with the network loaded anew.
        theirs: name of one way.
        ours: name of the other.
    """
    lines = [
        f"| study | read, {theirs} / {ours} | predict | write | all | {theirs} is so many times {ours} | loaded anew |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        one, other, anew = (row["seconds"][name] for name in (theirs, ours, "anew"))
        if not one or not other:
            continue
        cells = [f"{one[part]:.2f} / {other[part]:.2f}" for part in ("read", "predict", "write")]
        whole, beside = sum(one.values()), sum(other.values())
        cells += [f"{whole:.2f} / {beside:.2f}", f"{whole / beside:.2f}", f"{sum(anew.values()):.2f}"]
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def wrong_table(verdicts: Mapping[str, Values]) -> str:
    """What was wrong, by its first word, with the kinds."""
    wrong = {name: found["reason"] for name, found in verdicts.items() if found["outcome"] == "wrong"}
    if not wrong:
        return "Nothing."
    words = Counter(_word(reason) for reason in wrong.values())
    lines = ["| fault | kinds | which |", "|---|---|---|"]
    for word, count in words.most_common():
        names = ", ".join(name for name, reason in wrong.items() if _word(reason) == word)
        lines.append(f"| {word} | {count} | {names} |")
    return "\n".join(lines)


def _word(reason: str) -> str:
    """``volume 1 of 1, 9x9x9: place: ...`` is about the place."""
    for word in ("shape", "place", "value", "missing"):
        if f"{word}:" in reason or reason.endswith(word):
            return word
    return (
        "of what cannot be read rightly"
        if "cannot be read rightly" in reason
        else "volumes missing or too many"
    )
