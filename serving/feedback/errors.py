"""Why a vote is refused.

::

    FeedbackError            its message is one line for the caller; ``code`` is for programs
      UnknownPredictionError   no prediction of that id, or it was deleted after its retention
      TextNotKeptError         the prediction is known but its text was not kept: send the text
      TextMismatchError        the text sent is not the text that was predicted on
      InvalidTextError         no text, or one that cannot be kept
        AmbiguousTextError     several texts have an identity that begins as given
      InvalidLabelError        a label that no vocabulary can hold
        UnknownLabelError      a review's label that is not in the vocabulary
"""

from typing import ClassVar


class FeedbackError(Exception):
    """A vote that cannot be kept as it is."""

    code: ClassVar[str] = "invalid_feedback"


class UnknownPredictionError(FeedbackError):
    """There is no such prediction."""

    code = "unknown_prediction"


class TextNotKeptError(FeedbackError):
    """The text must come with the vote, for texts of requests are not kept."""

    code = "text_not_kept"


class TextMismatchError(FeedbackError):
    """The vote names a prediction and another text than that prediction's."""

    code = "text_mismatch"


class InvalidTextError(FeedbackError):
    """The text is missing, blank, or holds what a database cannot."""

    code = "invalid_text"


class InvalidLabelError(FeedbackError):
    """The label is blank, too long, or holds control characters."""

    code = "invalid_label"


class UnknownLabelError(InvalidLabelError):
    """The label of a review is not in the vocabulary."""


class AmbiguousTextError(InvalidTextError):
    """Several texts have an identity that begins as given."""
