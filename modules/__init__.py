"""Code that runs on workers: preprocessing, encoders, training, tuning and export."""
