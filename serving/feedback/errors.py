"""Reasons to refuse a feedback item or a review.

::

    FeedbackError            its message is one line for the caller; ``code`` is for programs
      UnknownPredictionError   no prediction has this id, or it was deleted after its retention
      TextNotKeptError         the prediction exists but its text was not stored: send the text
      TextMismatchError        the text sent is not the text of the prediction
      InvalidTextError         the text is missing or cannot be stored
        AmbiguousTextError     several texts have an identity with these first digits
      InvalidLabelError        no vocabulary can contain the label
        UnknownLabelError      the label of a review is not in the vocabulary
"""

from typing import ClassVar


class FeedbackError(Exception):
    """A feedback item or a review cannot be stored."""

    code: ClassVar[str] = "invalid_feedback"


class UnknownPredictionError(FeedbackError):
    """The prediction does not exist."""

    code = "unknown_prediction"


class TextNotKeptError(FeedbackError):
    """The text must be sent as well, because texts of requests are not stored."""

    code = "text_not_kept"


class TextMismatchError(FeedbackError):
    """The text is not the text of the named prediction."""

    code = "text_mismatch"


class InvalidTextError(FeedbackError):
    """The text is missing or blank, or contains what a database cannot store."""

    code = "invalid_text"


class InvalidLabelError(FeedbackError):
    """The label is blank, too long, or contains control characters."""

    code = "invalid_label"


class UnknownLabelError(InvalidLabelError):
    """The label of a review is not in the vocabulary."""


class AmbiguousTextError(InvalidTextError):
    """Several texts have an identity with these first digits."""
