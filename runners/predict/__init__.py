"""Predictions from a pushed model, in this process or over a server."""
