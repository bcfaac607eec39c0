"""What runs on a worker: features, preprocessing, encoders, model, training, tuning, signatures."""
