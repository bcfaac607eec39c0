"""Predictions from a pushed model, in this process or by a model server."""
