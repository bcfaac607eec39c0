"""The commands of ``bert``, one module each. What is slow to import, a command imports when run."""
