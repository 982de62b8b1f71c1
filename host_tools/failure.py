"""The one error type of the host tools: three lines for a person, an exit code for a machine."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the `rootlet` command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_DEVICE = 3
    UNVERIFIED = 4


class Failure(Exception):
    """Something a person can act on.

    Args:
        what: what went wrong, one line.
        because: the observed fact behind it, one line. Never holds a secret.
        try_: the exact command or edit to try next, one line.
        code: the exit code of the command.
    """

    def __init__(self, what: str, because: str, try_: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(what)
        self.what = what
        self.because = because
        self.try_ = try_
        self.code = code

    def __str__(self) -> str:
        return f"error: {self.what}\nbecause: {self.because}\ntry: {self.try_}"
