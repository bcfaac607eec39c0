"""Recorded runs: what ran, from which data and code, and what it measured."""
