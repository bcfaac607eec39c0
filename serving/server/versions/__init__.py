"""Model versions: discovery, policy, labels, loading and unloading."""
