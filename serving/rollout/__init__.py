"""Staged rollouts of pushed versions: shadow, canary, promotion and rollback."""
