"""What starts a run by itself: ``bert watch``."""
