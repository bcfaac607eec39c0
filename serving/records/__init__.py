"""What the gateway, the watcher and rollouts remember, in SQLite or PostgreSQL."""
