"""Records of the gateway, the watcher and rollouts, in SQLite or PostgreSQL."""
