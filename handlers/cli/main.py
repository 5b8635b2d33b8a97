"""The command line: `musicgen generate | serve | call | models | pack | verify | ...`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from handlers.cli import (
    backup,
    call,
    convert,
    credentials,
    doctor,
    evaluate,
    generate,
    inspect_file,
    keys,
    mcp,
    midi,
    models,
    pack,
    plan,
    serve,
    stems,
    uploads,
    verify,
)
from handlers.cli.options import SETTINGS_OPTIONS, name_options, name_setting
from handlers.cli.parser import CommandParser
from handlers.cli.statuses import (
    EXIT_AWAY,
    EXIT_BAD_INPUT,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_MISCONFIGURED,
)
from handlers.identity import describe_namesakes
from musicgen import __version__, catalog
from musicgen.errors import (
    DatabaseUnavailable,
    InvalidRequest,
    MissingDependency,
    MusicGenError,
    SettingsError,
)
from musicgen.process.logs import start_logging
from musicgen.settings import Settings

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; docs/runbook.md lists them."""
    options = build_parser().parse_args(arguments)
    try:
        # `doctor` reads the settings itself, to report every fault.
        settings = _read_settings(options) if options.reads_settings else Settings()
        start_logging(settings.log_level, form="%(message)s", as_json=settings.logs_json)
        status: int = options.run(options, settings)
    except InvalidRequest as error:
        return _complain(name_options(error, options), EXIT_BAD_INPUT)
    except SettingsError as error:
        text = name_setting(str(error), options)
        return _complain(text, EXIT_MISCONFIGURED if text == str(error) else EXIT_BAD_INPUT)
    except MissingDependency as error:
        return _complain(error, EXIT_MISCONFIGURED)
    except DatabaseUnavailable as error:
        return _complain(error, EXIT_AWAY)
    except MusicGenError as error:
        return _complain(error, EXIT_FAILED)
    except OSError as error:
        # A file or an address that no command has foreseen.
        logger.debug("The command failed.", exc_info=True)
        place = f"{error.filename}: " if error.filename else ""
        return _complain(f"{place}{error.strerror or error}.", EXIT_FAILED)
    except KeyboardInterrupt:
        return _complain(options.interrupted, EXIT_INTERRUPTED)
    return status


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = CommandParser(
        prog="musicgen",
        description="Music from text, on your own machine.",
        epilog=f"Meta's MusicGen weights are licensed {catalog.MUSICGEN_LICENCE}: "
        "not for commercial use.",
    )
    parser.set_defaults(reads_settings=True, interrupted="Interrupted.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (
        generate,
        serve,
        doctor,
        keys,
        backup,
        call,
        mcp,
        models,
        pack,
        plan,
        convert,
        inspect_file,
        credentials,
        midi,
        stems,
        uploads,
        verify,
        evaluate,
    ):
        command.add(commands)
    return parser


class _Version(argparse.Action):
    """Print the version, and a warning about another project's package of the same name."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Print and exit."""
        sys.stdout.write(f"{__version__}\n")
        namesakes = describe_namesakes()
        if namesakes is not None:
            sys.stderr.write(f"musicgen: warning: {namesakes}\n")
        parser.exit()


def _read_settings(options: argparse.Namespace) -> Settings:
    """Return the environment's settings, overridden by the given options."""
    given = {
        name: value
        for name in SETTINGS_OPTIONS.values()
        if (value := getattr(options, name, None)) is not None
    }
    return replace(Settings.from_env(), **given)


def _complain(message: object, status: int) -> int:
    sys.stderr.write(f"musicgen: {message}\n")
    return status
