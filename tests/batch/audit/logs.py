"""Audit logs for tests: a clock that is set, what stands in the files, and who meddles with them."""

from __future__ import annotations

import json

DAY = 86_400.0
STUDY = "a" * 64
NO_FAULT = None


class Clock:
    now = 1_700_000_000.0

    def __call__(self):
        return self.now


def files(log):
    return sorted(log.folder.glob("*.jsonl"))


def entries(log):
    return [json.loads(line) for path in files(log) for line in path.read_text().splitlines()]


def write_log(log, clock, lines=6):
    for number in range(lines):
        clock.now = Clock.now + number // 3 * DAY
        log.append("received", study=STUDY, count=number)


def changed(path, old, new):
    path.write_bytes(path.read_bytes().replace(old, new, 1))


def without_line(path, number):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:number] + lines[number + 1 :]))
