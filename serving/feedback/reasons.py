"""Reasons why a text is not exported, in the order in which they are checked."""

ALREADY_EXPORTED = "already_exported"
HELD_OUT = "held_out"
TOO_LONG = "text_too_long"
DISCARDED = "discarded"
CONFLICT = "conflict"
NEW_CLASS = "new_class"
TOO_FEW_VOTES = "too_few_votes"
OVER_SHARE = "over_share"
OVER_MAX = "over_max_examples"
INCOMPLETE_CLASS = "incomplete_class"
REASONS = (
    ALREADY_EXPORTED,
    HELD_OUT,
    TOO_LONG,
    DISCARDED,
    CONFLICT,
    NEW_CLASS,
    TOO_FEW_VOTES,
    OVER_SHARE,
    OVER_MAX,
    INCOMPLETE_CLASS,
)
