"""The commands of ``bert``, one module each. A command imports slow modules when it runs."""
