"""The kinds of failure that a user can mend.

A message is one line: what was expected, what was got, where, and what to do.
The command line prints it as it stands and turns it into an exit code; a
traceback is left to faults of medkit itself.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["CaseError", "ExitCode", "MedkitError", "TrainingError", "UsageError"]


class ExitCode(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    USAGE = 2
    SOME_FAILED = 3
    NONE_SUCCEEDED = 4
    INTERRUPTED = 130
    NO_READER = 141  # as after SIGPIPE


class MedkitError(Exception):
    """Base of the errors that medkit raises on purpose."""


class UsageError(MedkitError):
    """The call or a config is wrong, so that nothing can run (exit code 2)."""


class CaseError(MedkitError):
    """One case cannot be processed; the others go on (exit code 3 or 4).

    Args:
        code: short machine-readable reason, in kebab case, such as ``voxels-not-finite``.
        message: one line for a person.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[CaseError], tuple[str, str]]:
        # Exceptions pickle by their arguments, and a data-loader worker hands its errors over pickled.
        return type(self), (self.code, str(self))


class TrainingError(MedkitError):
    """A training came to nothing, and would again (exit code 4)."""
