"""Ingestion: reads files of labelled text, checks each row and splits the examples.

Readers, checks and counts need only the standard library (and pyarrow for Parquet); ``driver``,
``executor``, ``spans`` and ``transforms`` run them on TFX and Beam.
"""
