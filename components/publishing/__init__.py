"""Pushing of models to the version folders that model servers watch."""
