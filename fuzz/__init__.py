"""Fuzzing: bytes of a stranger against every door that they can reach; see ``python -m fuzz --help``."""
