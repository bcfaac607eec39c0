"""Feedback on predictions: votes, agreed labels, and the spans that training reads."""
