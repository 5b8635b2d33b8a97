"""Parser of the inputs in the text of predict.py, with the rules of `cog build`.

Cog silently drops or misreads some valid Python: a bound computed by an expression, a text with
escapes or in several pieces, a default from another module. This parser raises an error there.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TYPES = ("str", "int", "float", "bool", "Path")
RUNNERS = ("Runner", "StreamingRunner")
BOUNDS = ("ge", "le", "min_length", "max_length")
_OPTIONS = {"default", "description", "choices", *BOUNDS}


class NotPlainError(ValueError):
    """Expression of predict.py misread or dropped by Cog."""


@dataclass(frozen=True)
class InputField:
    """Parameter of `run`. `options`: the values of the arguments of `Input(...)`."""

    name: str
    type: str
    nullable: bool
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """Return type of `run`: one `type`, or an iterator of it.

    `streaming`: callers may get every item as a server-sent event.
    """

    type: str
    iterator: bool
    streaming: bool


def read_inputs(source: str, runner: str = "Runner") -> list[InputField]:
    """Return the inputs of a runner's `run` in the text of predict.py. Raises: `NotPlainError`."""
    module = ast.parse(source)
    reader = _Literals(source, module)
    run = _run_method(module, runner)
    parameters = run.args.args[1:]
    if len(parameters) != len(run.args.defaults):
        raise NotPlainError("every parameter of run() needs an Input(...)")
    return [
        _input_field(parameter, default, reader)
        for parameter, default in zip(parameters, run.args.defaults, strict=True)
    ]


def read_output(source: str, runner: str = "Runner") -> Output:
    """Return the output of a runner's `run`. Raises: `NotPlainError`."""
    run = _run_method(ast.parse(source), runner)
    returned, iterator = run.returns, False
    if isinstance(returned, ast.Subscript) and isinstance(returned.value, ast.Name):
        if returned.value.id != "Iterator":
            raise NotPlainError("run() must return one plain type, or an Iterator of one")
        returned, iterator = returned.slice, True
    if not isinstance(returned, ast.Name) or returned.id not in TYPES:
        raise NotPlainError("run() must return one plain type, or an Iterator of one")
    decorators = {each.id for each in run.decorator_list if isinstance(each, ast.Name)}
    return Output(returned.id, iterator, "streaming" in decorators)


class _Literals:
    """Evaluator of expressions with the limits of Cog's parser: own constants, no escapes."""

    def __init__(self, source: str, module: ast.Module) -> None:
        self._source = source
        self._constants = {
            target.id: statement.value
            for statement in module.body
            if isinstance(statement, ast.Assign)
            for target in statement.targets
            if isinstance(target, ast.Name)
        }

    def value(self, where: str, node: ast.expr) -> Any:
        """Return the value of a constant of the module, or of a literal."""
        if isinstance(node, ast.Name):
            if node.id not in self._constants:
                raise NotPlainError(f"{where}: {node.id} is not a constant of predict.py itself")
            node = self._constants[node.id]
        if isinstance(node, ast.List):
            return [self.value(where, item) for item in node.elts]
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = ast.get_source_segment(self._source, node) or ""
            if text[1:-1] != node.value:
                raise NotPlainError(f"{where}: write one text in one pair of quotes, no escapes")
            return node.value
        return self.number(where, node, or_constant=True)

    def number(self, where: str, node: ast.expr, *, or_constant: bool = False) -> Any:
        """Return the value of a literal number; with `or_constant` also True, False or None."""
        sign = 1
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            sign, node = -1, node.operand
        if isinstance(node, ast.Constant):
            value = node.value
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return sign * value
            if or_constant and sign == 1 and (value is None or isinstance(value, bool)):
                return value
        raise NotPlainError(f"{where}: not a plain literal, Cog would drop it")


def _run_method(module: ast.Module, runner: str) -> ast.FunctionDef | ast.AsyncFunctionDef:
    for node in module.body:
        if isinstance(node, ast.ClassDef) and node.name == runner:
            for method in node.body:
                if (
                    isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef))
                    and method.name == "run"
                ):
                    return method
    raise NotPlainError(f"predict.py has no class {runner} with a method run")


def _input_field(parameter: ast.arg, default: ast.expr, reader: _Literals) -> InputField:
    name = parameter.arg
    kind, nullable = _type_of(name, parameter.annotation)
    if not (
        isinstance(default, ast.Call)
        and isinstance(default.func, ast.Name)
        and default.func.id == "Input"
        and not default.args
    ):
        raise NotPlainError(f"{name}: write Input(...) with keywords")
    options: dict[str, Any] = {}
    for keyword in default.keywords:
        where = f"{name}.{keyword.arg}"
        if keyword.arg not in _OPTIONS:
            raise NotPlainError(f"{where}: not an option that is handled here")
        read = reader.number if keyword.arg in BOUNDS else reader.value
        options[keyword.arg] = read(where, keyword.value)
    if options.get("default", ...) is None and not nullable:
        raise NotPlainError(f"{name}: with the default None it must be `{kind} | None`")
    return InputField(name, kind, nullable, options)


def _type_of(name: str, annotation: ast.expr | None) -> tuple[str, bool]:
    nullable = isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr)
    if isinstance(annotation, ast.BinOp):
        if not (isinstance(annotation.right, ast.Constant) and annotation.right.value is None):
            raise NotPlainError(f"{name}: the only union is `TYPE | None`")
        annotation = annotation.left
    if not isinstance(annotation, ast.Name) or annotation.id not in TYPES:
        raise NotPlainError(f"{name}: the types are {', '.join(TYPES)}")
    return annotation.id, nullable
