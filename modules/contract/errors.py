"""The project's exception tree. Standard library only.

::

    UserError               what the person who typed the command can put right; exit code 2
      DataError             the data: rows that cannot be read, anomalies, too few examples
      EncoderError          the encoder: unknown name, missing folder, wrong checksum
    ModelError              a model that fails a check it must pass; exit code 1

A message is one line: what is wrong, what is legal, what was received, what to type next.
"""


class UserError(Exception):
    """Something the user can put right. The command line prints the message and exits with 2."""


class DataError(UserError):
    """The input data stops the run."""


class EncoderError(UserError):
    """The encoder cannot be found, read or trusted."""


class ModelError(Exception):
    """A trained or exported model fails a check it must pass."""


def one_line(error: BaseException) -> str:
    """Return an error's message as one line of at most 500 characters, or its type's name."""
    return " ".join(str(error).split())[:500] or type(error).__name__
