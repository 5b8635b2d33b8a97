"""Read the folders of HCL below infra/terraform with python-hcl2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from infra.check.tools import ROOT

FOLDER = ROOT / "infra/terraform"
FOLDERS = ("aws", "google", "modules/platform")
IS_BLOCK = "__is_block__"
"""python-hcl2 puts this key into the body of every block."""
LABELS = {"resource": 2, "data": 2, "terraform": 0, "locals": 0}
"""Number of labels of a kind of block, where it is not one."""
Body = dict[str, Any]


@dataclass(frozen=True)
class HclBlock:
    """One top-level block, such as `resource "aws_vpc" "this"`."""

    kind: str
    labels: tuple[str, ...]
    body: Body
    file: str

    @cached_property
    def address(self) -> str:
        """Address of the block in expressions."""
        prefix = {"resource": (), "variable": ("var",)}.get(self.kind, (self.kind,))
        return ".".join((*prefix, *self.labels))


@dataclass(frozen=True)
class Module:
    """Blocks of one folder."""

    name: str
    blocks: tuple[HclBlock, ...]
    errors: tuple[str, ...] = field(default=())

    def select(self, kind: str) -> list[HclBlock]:
        """Return the blocks of a kind."""
        return [block for block in self.blocks if block.kind == kind]

    @cached_property
    def locals(self) -> dict[str, Any]:
        """Values of the local names."""
        return {
            name: value
            for block in self.select("locals")
            for name, value in block.body.items()
            if name != IS_BLOCK
        }


def read_module(folder: Path) -> Module:
    """Read a folder; a file that is no HCL becomes an error with its line."""
    blocks: list[HclBlock] = []
    errors: list[str] = []
    for path in sorted(folder.glob("*.tf")):
        content = parse(path.read_text(encoding="utf-8"))
        if isinstance(content, int):
            errors.append(f"{path.name}:{content}: no valid HCL")
            continue
        for kind, items in content.items():
            for item in items:
                blocks += _split(kind, (), item, path.name)
    return Module(folder.name, tuple(blocks), tuple(errors))


@cache
def parse(text: str) -> Body | int:
    """Return the content of a file, or the line that is no HCL. It takes a tenth of a second."""
    import hcl2
    from lark.exceptions import UnexpectedInput

    options = hcl2.SerializationOptions(with_comments=False)
    try:
        content: Body = hcl2.loads(text, serialization_options=options)
    except UnexpectedInput as error:
        return int(error.line)
    return content


def list_types(root: Path = FOLDER) -> set[tuple[str, str]]:
    """Return kind and name of every resource, data source and provider of all folders."""
    return {
        (block.kind, block.labels[0])
        for name in FOLDERS
        for block in read_module(root / name).blocks
        if block.kind in ("resource", "data", "provider")
    }


def unquote(text: str) -> str:
    """Return a name without its quotation marks."""
    return text.strip('"')


def _split(kind: str, labels: tuple[str, ...], body: Body, file: str) -> Iterator[HclBlock]:
    if len(labels) == LABELS.get(kind, 1):
        yield HclBlock(kind, labels, body, file)
        return
    for label, inner in body.items():
        if label != IS_BLOCK:
            yield from _split(kind, (*labels, unquote(label)), inner, file)
