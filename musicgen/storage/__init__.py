"""Storage of clips. Imports nothing, so that `storage.local` needs no extra package."""
