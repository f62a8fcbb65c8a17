"""The errors segstream raises: each is one sentence that says what is wrong and what to do.

Every class is also the builtin that a caller would expect to catch, and carries the exit code of the command line.
"""


class SegstreamError(Exception):
    """Base of every error that segstream reports to its user. `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(SegstreamError, ValueError):
    """An option, a configuration file or an argument that cannot be used."""

    exit_code = 2


class ModelError(UsageError):
    """A model that does not exist, cannot be read, or is of another network."""


class EngineError(SegstreamError, RuntimeError):
    """An engine that failed while running: out of memory, a lost device, a kernel that did not build."""


class SourceError(SegstreamError, OSError):
    """A source that cannot be opened or read."""

    exit_code = 3


class OutputError(SegstreamError, OSError):
    """An output that cannot be written."""

    exit_code = 4


class DisplayError(SegstreamError, RuntimeError):
    """A window that cannot be opened, because there is no display or Qt is incomplete."""
