"""Sections of the config: every key with its type, allowed range, default and meaning.

``docs/configuration.md`` prints the description of each key. Defaults that a worker's settings
(``modules.contract.hparams``) share are read from there.
"""
