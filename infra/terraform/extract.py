"""`python -m infra.terraform.extract WHEEL...`: Write the schemas of the types in use.

The wheels are the bindings of the CDK Terrain project, `cdktn-provider-NAME` on PyPI, up to 70 MB
each: `pip download --no-deps cdktn-provider-aws`. They are generated from the providers' own
schemas. Only the types in use go into `schemas.json`, with the versions of provider and bindings.
`python -m infra.check terraform` holds the modules against that file.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.check.terraform.modules import list_types
from infra.check.terraform.schemas import FILE

_INTERFACE = re.compile(r"^export interface (\w+)[^{]*\{(.*?)^\}", re.M | re.S)
_FIELD = re.compile(r"#(\w+) \w+#\w+\}.*?\n    readonly \w+(\??): (.*?);\n(?=    /|\Z)", re.S)
_STRUCT = re.compile(r"^function (\w+)ToHclTerraform\(struct\) \{(.*?)^\}", re.M | re.S)
_ATTRIBUTES = re.compile(r"^    synthesizeHclAttributes\(\) \{(.*?)^    \}", re.M | re.S)
_ENTRY = re.compile(r"(\w+): \{\s*value: ([^\n]*),\n\s*isBlock: true,\s*type: \"(\w+)\"")
_READABLE = re.compile(r"(?:get\w*Attribute\(|new \w+\(this, )['\"](\w+)['\"]")
_PRIMITIVES = {"string": "string", "number": "number", "boolean": "bool"}


class Bindings:
    """Bindings of one provider in a wheel."""

    def __init__(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            name = next(n for n in archive.namelist() if n.endswith(".jsii.tgz"))
            self._tar = tarfile.TarFile.open(fileobj=io.BytesIO(archive.read(name)))
        about = json.loads(self._read("package.json"))
        provider = about["cdktn"]["provider"]
        source = provider["name"].partition("/")[2]
        self.name = source.partition("/")[2]
        self.about = {
            "source": source,
            "version": provider["version"],
            "bindings": f"{about['name']} {about['version']}",
        }

    def extract(self, kind: str, name: str) -> dict[str, Any]:
        """Return the schema of a resource, a data source or the provider itself.

        Raises: KeyError for a type that the provider does not have.
        """
        folder = {
            "resource": name.removeprefix(self.name + "_"),
            "data": "data_" + name,
            "provider": "provider",
        }[kind].replace("_", "-")
        script = self._read(f"lib/{folder}/index.js")
        types = dict(_INTERFACE.findall(self._read(f"lib/{folder}/index.d.ts")))
        structs = _STRUCT.findall(script)
        for path in self._tar.getnames():  # a large type has its structures in files of their own
            if path.startswith(f"package/lib/{folder}/index-structs/"):
                text = self._read(path.removeprefix("package/"))
                if path.endswith(".d.ts"):
                    types |= dict(_INTERFACE.findall(text))
                elif path.endswith(".js"):
                    structs += _STRUCT.findall(text)
        blocks = {struct.lower(): _find_blocks(body) for struct, body in structs}
        own = "".join(_ATTRIBUTES.findall(script))
        main = next(iter(types.values()))
        fields = dict(_build_fields(main, types, blocks, _find_blocks(own)))
        fields.pop("alias", None)
        members = script[script.rindex("extends cdktn.Terraform") :]
        return {"fields": fields, "readable": sorted({*_READABLE.findall(members)} - {*fields})}

    def _read(self, path: str) -> str:
        file = self._tar.extractfile(f"package/{path}")
        assert file is not None
        return file.read().decode()


def _find_blocks(script: str) -> set[str]:
    """Return the names of nested blocks. Nested attributes are objects, written with `=`."""
    return {
        name
        for name, value, kind in _ENTRY.findall(script)
        if name == "timeouts" or not (kind == "struct" or "HclTerraform, false)" in value)
    }


def _build_fields(
    body: str,
    types: Mapping[str, str],
    blocks: Mapping[str, set[str]],
    own: set[str],
) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, optional, text in _FIELD.findall(body):
        kind = text.replace(" | cdktn.IResolvable", "")
        field: dict[str, Any] = {} if optional else {"required": True}
        struct = kind.removesuffix("[]")
        if struct in types:
            field["block" if name in own else "object"] = dict(
                _build_fields(types[struct], types, blocks, blocks.get(struct.lower(), set()))
            )
            if kind == struct:
                field["single"] = True
        else:
            field["type"] = _name_type(kind)
        yield name, field


def _name_type(kind: str) -> str:
    """Return the name of a type in HCL for one in TypeScript."""
    kind = re.sub(r"\s+", " ", kind)
    if found := re.fullmatch(r"\{ \[key: string\]: (.*?);? \}(\[\])?", kind):
        inner = f"map({_name_type(found[1])})"
        return f"list({inner})" if found[2] else inner
    if kind.endswith("[]"):
        return f"list({_name_type(kind.removesuffix('[]'))})"
    if kind.startswith("Array<"):
        return f"list({_name_type(kind[6:-1].split(' | ')[0])})"
    return _PRIMITIVES.get(kind, "any")


def main(arguments: list[str] | None = None) -> int:
    """Write the file; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m infra.terraform.extract")
    parser.add_argument("wheels", nargs="+", type=Path, metavar="WHEEL")
    bindings = {b.name: b for b in map(Bindings, parser.parse_args(arguments).wheels)}
    providers = {name: b.about for name, b in sorted(bindings.items())}
    content: dict[str, dict[str, Any]] = {"providers": providers}
    for kind, name in sorted(list_types()):
        content.setdefault(kind, {})[name] = bindings[name.partition("_")[0]].extract(kind, name)
    FILE.write_text(_write_json(content), "utf-8")
    return 0


def _write_json(content: Mapping[str, Mapping[str, Any]]) -> str:
    """Return JSON with a line for each type."""
    parts = []
    for kind, types in sorted(content.items()):
        lines = (f"{json.dumps(n)}: {json.dumps(s, sort_keys=True)}" for n, s in types.items())
        parts.append(f"{json.dumps(kind)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{" + ",\n".join(parts) + "}\n"


if __name__ == "__main__":
    sys.exit(main())
