"""From files of labelled text to checked, split examples.

Readers, checks and counts need the standard library alone (and pyarrow for Parquet); ``driver``,
``executor``, ``spans`` and ``transforms`` put them on TFX and Beam.
"""
