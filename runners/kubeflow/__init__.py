"""Kubeflow Pipelines: compiler settings and client."""
