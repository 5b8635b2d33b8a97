"""The embedded demo checkpoint (package data)."""
