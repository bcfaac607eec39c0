"""Facts that several floors share: names, settings, errors, file layouts. Standard library only."""
