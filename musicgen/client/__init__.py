"""The Python client of the job API. Imports no torch."""

from musicgen.client.client import AsyncMusicGenClient, Job, MusicGenClient, NotDone

__all__ = ["AsyncMusicGenClient", "Job", "MusicGenClient", "NotDone"]
