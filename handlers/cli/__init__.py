"""One module for each command of `musicgen`: `add` registers it. Nothing is imported here."""
