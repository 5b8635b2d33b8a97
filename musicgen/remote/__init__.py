"""Generation by a remote deployment. Imports nothing."""
