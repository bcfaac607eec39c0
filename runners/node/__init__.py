"""Shared parts of processes that run a node, locally or on Airflow."""
