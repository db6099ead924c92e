"""The one error tree of aiida-hqe, sorted by what one can do about an error."""

from __future__ import annotations


class HQEError(Exception):
    """Base of every error that aiida-hqe raises on purpose; its message is one line with a remedy."""

    exit_code = 1


class InputError(HQEError):
    """The input is wrong: change the input.

    Parameters
    ----------
    message
        What was expected, what came, what to do.
    key
        Dotted path of the offending entry (``system.qm.atoms``), where the input is a document.
    """

    exit_code = 2

    def __init__(self, message: str, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class ConvergenceError(HQEError):
    """An iteration did not converge: other settings may help.

    Parameters
    ----------
    message
        What did not converge, after what was tried.
    residual
        The last residual, in the unit that the message states; ``None`` if none was reached.
    """

    def __init__(self, message: str, residual: float | None = None) -> None:
        super().__init__(message)
        self.residual = residual


class ResourceError(HQEError):
    """The machine lacks something (memory, disk, an optional package): install it or go elsewhere."""


class DeviceError(ResourceError):
    """The GPU that was asked for is not there, or fails: see to it, or compute on the processor."""


class IntegrityError(HQEError):
    """Data are damaged (checksum, truncated file): restore them from their source."""


ERROR_CODES: dict[str, type[HQEError]] = {
    "input": InputError,
    "convergence": ConvergenceError,
    "resource": ResourceError,
    "integrity": IntegrityError,
}
"""Names under which jobs report errors to parsers (``Label.error_kind``, ``status.json``)."""


def error_kind(error: HQEError) -> str:
    """Name of the branch of the error tree, as jobs report it; ``"error"`` for the bare base class."""
    for name, kind in ERROR_CODES.items():
        if isinstance(error, kind):
            return name
    return "error"
