"""Bytes to an address. Nothing is imported here: `storage.local` needs no extra package."""
