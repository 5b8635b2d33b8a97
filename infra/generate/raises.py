"""Messages of errors as their `raise` statements have them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.check.tools import ROOT
from musicgen import errors
from musicgen.errors.request_reasons import REQUEST_REASONS
from musicgen.errors.sound_reasons import SOUND_REASONS

COMPOSED = {"ModelTooLarge", "NonFiniteLogits", "UnknownField"}
"""Their classes compose the text: see `musicgen.errors`."""
_COUNT = re.compile(r"\{(\w+):count (\w+)(?: (\w+))?\}")


def show_counts(template: str) -> str:
    """Return a template of a `CodedText` for a reader, with the plural behind each number."""
    return _COUNT.sub(lambda found: f"{{{found[1]}}} {found[3] or f'{found[2]}s'}", template)


_REASONS = {
    name: {code: show_counts(text) for code, text in texts.items()}
    for name, texts in (("SoundReason", SOUND_REASONS), ("RequestReason", REQUEST_REASONS))
}


@dataclass(frozen=True)
class Message:
    """One `raise` of an error: its class, its text with `{...}` for what varies, its file."""

    error: str
    text: str
    path: str


def read_messages(folder: Path) -> list[Message]:
    """Return the messages of the errors raised in the modules of a folder, each once."""
    found: dict[Message, None] = {}
    for path in sorted(folder.glob("*.py")):
        for error, text in _raises(ast.parse(path.read_text(encoding="utf-8"))):
            found[Message(error, text, str(path.relative_to(ROOT)))] = None
    return list(found)


def _raises(tree: ast.Module) -> Iterator[tuple[str, str]]:
    constants = _assignments(tree.body)
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        nodes = sorted(ast.walk(function), key=lambda node: getattr(node, "lineno", 0))
        for node in nodes:
            call = node.exc if isinstance(node, ast.Raise) else getattr(node, "value", None)
            if isinstance(call, ast.Call) and isinstance(node, (ast.Raise, ast.Return)):
                # A variable has the value assigned to it last before the statement.
                before = [other for other in nodes if getattr(other, "lineno", 0) < node.lineno]
                yield from _message(call, constants | _assignments(before))


def _message(call: ast.Call, known: dict[str, ast.expr]) -> Iterator[tuple[str, str]]:
    named = call.func.value if isinstance(call.func, ast.Attribute) else call.func
    if not isinstance(named, ast.Name) or named.id in COMPOSED:
        return
    # Modules of the package are attributes of it too.
    if not isinstance(getattr(errors, named.id, None), type):
        return
    parts = [_text(argument, known) for argument in call.args]
    text = " ".join(parts)
    if isinstance(call.func, ast.Attribute) and call.func.attr == "for_choice":
        text = f"{parts[0]} must be one of {parts[2]}"
    elif named.id == "MissingDependency":
        text = f"{parts[1]} needs the package {parts[0]}"
    advice = [_text(k.value, known) for k in call.keywords if k.arg == "advice"]
    text = f"{text}. {advice[0]}" if advice else text
    if text:
        yield named.id, text


def _text(node: ast.expr, known: dict[str, ast.expr]) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else _show_value(part, known)
            for part in node.values
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, known) + _text(node.right, known)
    if isinstance(node, ast.Call) and (texts := _REASONS.get(ast.unparse(node.func))):
        return texts[ast.literal_eval(node.args[0])]
    if isinstance(node, ast.Name) and node.id in known:
        return _text(known[node.id], {})
    return _show_value(node, known)


def _show_value(part: ast.expr, known: dict[str, ast.expr]) -> str:
    value = part.value if isinstance(part, ast.FormattedValue) else part
    counted = known.get(value.id) if isinstance(value, ast.Name) else value
    if isinstance(counted, ast.Call) and ast.unparse(counted.func) == "format_count":
        number, noun, *plural = counted.args
        many = ast.literal_eval(plural[0]) if plural else f"{ast.literal_eval(noun)}s"
        return f"{{{ast.unparse(number)}}} {many}"
    return f"{{{ast.unparse(value)}}}"


def _assignments(nodes: list[ast.AST] | list[ast.stmt]) -> dict[str, ast.expr]:
    return {
        target.id: node.value
        for node in nodes
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
