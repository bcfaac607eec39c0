"""The Tuner's search: hyperparameter space, parallel and finished trials."""
