"""Asking a deployment elsewhere for music. Nothing is imported here."""
