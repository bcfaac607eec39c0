"""Encoders by name: keras-hub presets, TF Hub modules, Hugging Face folders and the bundled MiniLM."""
