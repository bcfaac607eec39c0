"""Monitoring of recent traffic, and export of feedback for retraining."""
