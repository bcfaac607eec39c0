"""Is recent traffic still like the data that the served model was trained for?

``describe`` asks the model server what it sees in texts; ``reference`` keeps that of held-out
texts; ``check`` compares the two by the tests of ``two_sample``; ``quality`` tells how often the
answers were right, from labels that came back, and without them by ``estimate``.
"""
