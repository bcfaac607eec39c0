"""Notebook runs and their views."""
