"""Pretrained encoders: the bundled MiniLM, keras-hub, TF Hub and Hugging Face checkpoints."""
