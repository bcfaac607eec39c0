"""The sample, public data sets to try the pipeline with, and detection of a file's columns."""
