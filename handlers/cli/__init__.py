"""The `musicgen` command line: one module for each command. Nothing is imported here."""
