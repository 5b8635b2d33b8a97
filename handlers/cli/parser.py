"""Parser of the command line: errors in one line, an example in each help."""

from __future__ import annotations

import argparse
from typing import NoReturn

from handlers.cli.statuses import EXIT_BAD_INPUT

EXAMPLES = {
    "musicgen": 'musicgen generate "slow calm piano" --duration 20 -o piano.flac',
    "musicgen generate": 'musicgen generate "slow calm piano" --duration 20 -o piano.flac',
    "musicgen serve": "musicgen serve all --port 8000",
    "musicgen doctor": "musicgen doctor worker --model small",
    "musicgen keys": "musicgen keys create studio --days 90",
    "musicgen keys create": "musicgen keys create studio --scope generate --days 90",
    "musicgen keys list": "musicgen keys list",
    "musicgen keys revoke": "musicgen keys revoke 3f9a1c2b",
    "musicgen keys delete-data": "musicgen keys delete-data 3f9a1c2b --yes",
    "musicgen backup": "musicgen backup backups/",
    "musicgen restore": "musicgen restore backups/musicgen-20260131-120000.tar",
    "musicgen call": 'musicgen call --target replicate --name OWNER/MODEL "calm piano" -o a.wav',
    "musicgen mcp": "musicgen mcp --server http://127.0.0.1:8000 --folder clips",
    "musicgen models": "musicgen models --json",
    "musicgen pack": "musicgen pack small -o packed --form plain-bfloat16",
    "musicgen plan": "musicgen plan --jobs-per-hour 600 --seconds 20 --gpu L4",
    "musicgen convert": "musicgen convert RUN --base small -o tuned",
    "musicgen inspect": "musicgen inspect clip.wav --trust root.pem --require",
    "musicgen credentials": "musicgen credentials new keys",
    "musicgen credentials new": "musicgen credentials new keys --days 30",
    "musicgen midi": "musicgen midi clip.wav -o notes.mid",
    "musicgen stems": "musicgen stems clip.wav -o stems --format flac",
    "musicgen uploads": "musicgen uploads retry",
    "musicgen uploads list": "musicgen uploads list --older-than 3600",
    "musicgen uploads retry": "musicgen uploads retry --json",
    "musicgen verify": "musicgen verify --model small --duration 5",
    "musicgen evaluate": "musicgen evaluate --model small --pairs 10",
}
"""One example for each command, by its name."""


class CommandParser(argparse.ArgumentParser):
    """Parser of a command, and of the commands below it."""

    def format_help(self) -> str:
        """Return the help, with the command's example at its end, on a line of its own."""
        return f"{super().format_help()}\nExample: {EXAMPLES[self.prog]}\n"

    def error(self, message: str) -> NoReturn:
        """End with one line, without the usage: it would hide the error."""
        command = self.prog if " " in self.prog else f"{self.prog} COMMAND"
        self.exit(
            EXIT_BAD_INPUT,
            f"{self.prog}: {message.rstrip('.')}. `{command} --help` lists the options.\n",
        )
