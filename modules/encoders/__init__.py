"""Encoders by name: the bundled MiniLM, keras-hub presets, TF Hub modules, Hugging Face folders."""
