"""The HTTP API in front of the model server: predictions, feedback, and a page to try both."""
