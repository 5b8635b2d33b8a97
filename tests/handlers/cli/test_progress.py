"""Progress on a terminal, and in a file or a pipe."""

from __future__ import annotations

import io

from handlers.cli.progress import LINE_SECONDS, ProgressLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_whole_lines_now_and_then() -> None:
    now, out = 100.0, io.StringIO()
    line = ProgressLine(out, lambda: now)
    for step in range(1, 101):
        now += 0.11
        line.show(f"{step} of 100")
    line.close()
    lines = out.getvalue().splitlines()
    assert lines[0] == "1 of 100" and len(lines) == 1 + int(99 * 0.11 / LINE_SECONDS)
    assert "\r" not in out.getvalue() and out.getvalue().endswith("\n")


def test_a_terminal_gets_one_line_with_a_bar() -> None:
    out = Terminal()
    line = ProgressLine(out)
    line.show("waiting, number 1 in the queue")
    line.show("50% made", 0.5)
    line.close()
    first, second, rest = out.getvalue()[1:].replace("\n", "\r").split("\r")
    assert first.startswith("waiting, number 1") and rest == ""
    assert second.startswith("[" + "#" * 20 + "." * 20 + "] 50% made")
    assert out.getvalue().count("\n") == 1
