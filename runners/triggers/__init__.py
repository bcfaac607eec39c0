"""Triggers: start runs automatically, for ``bert watch``."""
