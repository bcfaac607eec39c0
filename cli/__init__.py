"""The `bert` command."""
