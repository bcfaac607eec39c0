"""Training: batches, input pipeline, loop, callbacks, checkpoints, precision, several workers."""
