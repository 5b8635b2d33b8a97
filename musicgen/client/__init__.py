"""TODO-FACE"""

from musicgen.client.client import AsyncMusicGenClient, Job, MusicGenClient, NotDone

__all__ = ["AsyncMusicGenClient", "Job", "MusicGenClient", "NotDone"]
