"""Monitoring of deployed data and export of feedback for retraining."""
