"""Drift and quality of recent traffic.

``describe`` lets the served model describe texts; ``reference`` stores descriptions of held-out
texts; ``check`` compares recent texts with them by the tests of ``two_sample``; ``quality``
measures accuracy from labelled feedback, and ``estimate`` estimates it without labels.
"""
