"""Sections of the config: every key with its type, legal range, default and meaning.

A key's description is what ``docs/configuration.md`` prints. Defaults that a worker's record has
too (``modules.contract.hparams``) are taken from it, so that they are written once.
"""
