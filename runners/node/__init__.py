"""Parts shared by processes that run a node, locally or on Airflow."""
