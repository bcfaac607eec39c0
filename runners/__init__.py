"""Runners: the places where a pipeline runs, and what starts, records and traces its runs."""
