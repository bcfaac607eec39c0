"""The project's exceptions. Standard library only.

::

    UserError               an error that the user can correct; exit code 2
      DataError             the data: unreadable rows, anomalies, too few examples
      EncoderError          the encoder: unknown name, missing folder, wrong checksum
    ModelError              a model that fails a required check; exit code 1

A message is one line: what is wrong, what is allowed, what was received, what to do.
"""


class UserError(Exception):
    """An error that the user can correct. The command line prints it and exits with code 2."""


class DataError(UserError):
    """The input data cannot be used."""


class EncoderError(UserError):
    """The encoder is missing, unreadable or not the expected one."""


class ModelError(Exception):
    """A trained or exported model fails a required check."""


def one_line(error: BaseException) -> str:
    """Return an error's message as one line of at most 500 characters, or its type's name."""
    return " ".join(str(error).split())[:500] or type(error).__name__
