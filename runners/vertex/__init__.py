"""Vertex AI: compiler settings, clients, custom jobs, Model Registry and endpoints."""
