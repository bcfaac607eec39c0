"""One typed config, one graph of components, one pipeline."""
