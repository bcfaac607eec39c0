"""Airflow: DAG, client and execution of tasks."""
