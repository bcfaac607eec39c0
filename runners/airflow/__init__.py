"""Airflow: DAG, client and task execution."""
