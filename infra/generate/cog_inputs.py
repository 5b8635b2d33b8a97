"""The inputs of predict.py from the declarations of request fields.

Cog reads predict.py as text: bounds must be plain numbers, descriptions one plain literal, and
names must be constants of that file. So the file is generated, and not computed when it runs.
"""

from __future__ import annotations

from handlers.cog_callers import MULTI_BAND_DIFFUSION
from infra.generate.blocks import replace_blocks
from musicgen.request import request_fields
from musicgen.request.fields import FieldSpec
from musicgen.request.limits import PROMPT_MAX_CHARACTERS

_LINE = 100
_NULL_DEFAULTS = frozenset({"prompt", "continuation_end"})
"""Inputs that are null by default in replicate/cog-musicgen too: its callers send null."""
_TYPES = {"integer": "int", "number": "float", "boolean": "bool"}


def render(text: str) -> str:
    """Return the text of predict.py with its generated blocks written anew."""
    specs = [*(spec for spec in request_fields().values() if spec.on_cog), MULTI_BAND_DIFFUSION]
    constants = "".join(_constants(spec) for spec in specs)
    constants = f"# fmt: off\n{constants}# fmt: on\n"
    inputs = "".join(f"{_input(spec)}\n" for spec in specs)
    return replace_blocks(replace_blocks(text, "constants", constants), "inputs", inputs)


def _constants(spec: FieldSpec) -> str:
    """Return the lines with the description of a field and its choices.

    Raises: ValueError for a description that Cog would misread.
    """
    description = spec.description
    if any(character in description for character in '"\\\n'):
        raise ValueError(f"{spec.name}: Cog misreads quotes and escapes in a description")
    lines = [f'{spec.name.upper()} = "{description}"']
    if spec.choices:
        lines.append(f"{_choices_name(spec)} = {_list(spec.choices)}")
    return "".join(f"{line}{'' if len(line) <= _LINE else '  # noqa: E501'}\n" for line in lines)


def _input(spec: FieldSpec) -> str:
    options = [f"description={spec.name.upper()}"]
    if spec.choices:
        options.append(f"choices={_choices_name(spec)}")
    default = None if spec.name in _NULL_DEFAULTS else spec.default
    options.append(f"default={_literal(default)}")
    bounds = {"ge": spec.low, "le": spec.high}
    options += [f"{name}={bound!r}" for name, bound in bounds.items() if bound is not None]
    if spec.kind == "text":
        options.append(f"max_length={PROMPT_MAX_CHARACTERS}")
    start, joined = f"        {spec.name}: {_type(spec)} = Input(", ", ".join(options)
    # Laid out as the formatter would.
    if len(one_line := f"{start}{joined}),") <= _LINE:
        return one_line
    indent = " " * 12
    if len(indent + joined) <= _LINE:
        return f"{start}\n{indent}{joined}\n        ),"
    lines = "".join(f"{indent}{option},\n" for option in options)
    return f"{start}\n{lines}        ),"


def _type(spec: FieldSpec) -> str:
    kind = _TYPES.get(spec.kind, "str")
    if spec.choices and isinstance(spec.choices[0], int):
        kind = "int"
    return f"{kind} | None" if spec.is_optional or spec.name in _NULL_DEFAULTS else kind


def _choices_name(spec: FieldSpec) -> str:
    return f"{spec.name.upper()}_CHOICES"


def _list(values: tuple[str, ...] | tuple[int, ...]) -> str:
    return f"[{', '.join(_literal(value) for value in values)}]"


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)
