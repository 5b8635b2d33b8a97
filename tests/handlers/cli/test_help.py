"""The help of each command: an example that is one, defaults, and errors in one line."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator

import pytest

from handlers.cli.main import build_parser
from handlers.cli.parser import EXAMPLES


def _list_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _list_parsers(below)


PARSERS = {parser.prog: parser for parser in _list_parsers(build_parser())}


def test_each_command_has_one_example() -> None:
    assert set(EXAMPLES) == set(PARSERS)


@pytest.mark.parametrize("name", PARSERS)
def test_the_example_is_a_command(name: str) -> None:
    example = EXAMPLES[name]
    assert example.startswith(name) and PARSERS[name].format_help().endswith(f": {example}\n")
    build_parser().parse_args(shlex.split(example)[1:])


@pytest.mark.parametrize("name", PARSERS)
def test_each_argument_has_a_help_and_each_value_its_default(name: str) -> None:
    for action in PARSERS[name]._actions:
        if isinstance(action, argparse._SubParsersAction):
            continue
        assert action.help, action.dest
        if action.default not in (None, False, True, "", argparse.SUPPRESS) and action.nargs != 0:
            assert "default" in action.help, action.dest


@pytest.mark.parametrize("arguments", ["generate x --duration long", "nothing", "keys", "serve x"])
def test_a_wrong_option_is_told_in_a_line(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards the usage of forty options above the error."""
    with pytest.raises(SystemExit) as end:
        build_parser().parse_args(arguments.split())
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.count("\n") == 1
    assert error.startswith("musicgen") and "--help` lists the options." in error
