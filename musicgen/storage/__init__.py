"""Bytes to an address. Nothing is imported here: `musicgen.storage.local` needs no extra package."""
