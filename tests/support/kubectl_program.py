"""A `kubectl` that renders by the real one and keeps a cluster in a file: revisions of Deployments
as their controller counts them, secrets, nodes."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.programs import Program

REVISION = "deployment.kubernetes.io/revision"
PART_OF = "app.kubernetes.io/part-of"
DAEMON = "daemonset/"


class Cluster(Program):
    """What is in it, and what `kubectl` was told to change. `real` renders."""

    def __init__(self, folder: Path, real: str) -> None:
        super().__init__(
            folder,
            "kubectl",
            __name__,
            real=real,
            is_there=True,
            may=True,
            versions=[],
            secrets={},
            nodes=[],
            deployments={},
            objects=[],
            hangs=False,
            namespace=True,
            refusal="",
            namespace_labels={"musicgen.io/gateway": "true", "musicgen.io/monitoring": "true"},
            issuers=["letsencrypt"],
            applied="",
            changes=[],
        )

    def image(self, name: str) -> str:
        """Of the revision that runs now."""
        template = self.read()["deployments"][name][-1]["template"]
        return str(template["spec"]["containers"][0]["image"])


def node(driver: str, gpus: int = 1) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "node1",
            "labels": {
                "nvidia.com/cuda.driver-version.full": driver,
                "nvidia.com/gpu.memory": "23034",
            },
        },
        "status": {"allocatable": {"nvidia.com/gpu": str(gpus)}},
    }


def secret(**data: str) -> dict[str, str]:
    return {key.replace("_", "-"): base64.b64encode(v.encode()).decode() for key, v in data.items()}


def main(path: str, arguments: Sequence[str]) -> int:
    file = Path(path)
    state = json.loads(file.read_text())
    if arguments[0] == "kustomize":
        return subprocess.call([state["real"], *arguments])
    words = [word for word in arguments if not word.startswith("-")]
    if arguments[0] == "--namespace":
        words = words[1:]
    if not state["is_there"] and words[0] != "config":
        status, said = 1, "The connection to the server was refused"
    else:
        asked = _asked(state, words, arguments)
        status, said = _told(state, words, arguments) if asked is None else asked
    file.write_text(json.dumps(state))
    (sys.stdout if status == 0 else sys.stderr).write(f"{said}\n")
    return status


def _asked(
    state: dict[str, Any], words: list[str], arguments: Sequence[str]
) -> tuple[int, str] | None:
    """The answer to a question; None for what is none."""
    match words:
        case ["config", "current-context"]:
            return 0, "test"
        case ["version"]:
            return 0, "{}"
        case ["api-versions"]:
            return 0, "\n".join(state["versions"])
        case ["auth", "can-i", *_]:
            return (0, "yes") if state["may"] else (1, "no")
        case ["apply"] if "--dry-run=server" in arguments:
            sys.stdin.read()
            return (1, state["refusal"]) if state["refusal"] else (0, "applied (server dry run)")
        case ["get", *wanted]:
            return _got(state, wanted)
    return None


def _got(state: dict[str, Any], words: list[str]) -> tuple[int, str]:
    match words:
        case ["secret", name]:
            found = state["secrets"].get(name)
            missing = (1, f'secrets "{name}" not found')
            return missing if found is None else (0, json.dumps({"data": found}))
        case ["namespaces"]:
            return 0, json.dumps({"items": [{"metadata": {"labels": state["namespace_labels"]}}]})
        case ["clusterissuers.cert-manager.io", name]:
            return (0, name) if name in state["issuers"] else (1, "not found")
        case ["namespace", _]:
            return (0, "musicgen") if state["namespace"] else (1, "not found")
        case ["nodes"]:
            return 0, json.dumps({"items": state["nodes"]})
        case ["deployments"]:
            return 0, json.dumps({"items": _deployments(state)})
        case ["controllerrevisions"]:
            return 0, json.dumps({"items": _controller_revisions(state)})
        case [resources]:
            kinds = {each.partition(".")[0].removesuffix("s") for each in resources.split(",")}
            kinds |= {kind.removesuffix("e") for kind in kinds}
            items = [o for o in state["objects"] if o["kind"].lower() in kinds and _is_ours(o)]
            return 0, json.dumps({"items": items})
    return 2, f"unknown: get {words}"


def _told(state: dict[str, Any], words: list[str], arguments: Sequence[str]) -> tuple[int, str]:
    match words:
        case ["diff"]:
            return (0, "") if sys.stdin.read() == state["applied"] else (1, "+ something")
        case ["apply"]:
            return _apply(state, sys.stdin.read())
        case ["delete", *names]:
            return _delete(state, names)
        case ["rollout", "undo", name]:
            own = name.removeprefix("deployment/")
            return _undo(state, own, arguments[-1].partition("=")[2])
        case ["rollout", "status", name]:
            if state["hangs"]:
                time.sleep(60)
            return 0, f"{name} successfully rolled out"
    return 2, f"unknown: {arguments}"


def _deployments(state: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"metadata": {"name": name, "annotations": {REVISION: str(revisions[-1]["number"])}}}
        for name, revisions in state["deployments"].items()
        if not name.startswith(DAEMON)
    ]


def _controller_revisions(state: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "metadata": {"ownerReferences": [{"kind": "DaemonSet", "name": name[len(DAEMON) :]}]},
            "revision": revision["number"],
        }
        for name, revisions in state["deployments"].items()
        if name.startswith(DAEMON)
        for revision in revisions
    ]


def _is_ours(item: dict[str, Any]) -> bool:
    return bool(item["metadata"].get("labels", {}).get(PART_OF) == "musicgen")


def _delete(state: dict[str, Any], names: list[str]) -> tuple[int, str]:
    state["changes"].append(f"delete {' '.join(names)}")
    gone = {tuple(name.partition("/")[::2]) for name in names}

    def is_gone(item: dict[str, Any]) -> bool:
        group = item["apiVersion"].rpartition("/")[0]
        kind = item["kind"].lower() + (f".{group}" if group else "")
        return (kind, item["metadata"]["name"]) in gone

    for item in filter(is_gone, state["objects"]):
        prefix = DAEMON if item["kind"] == "DaemonSet" else ""
        state["deployments"].pop(prefix + item["metadata"]["name"], None)
    state["objects"] = [item for item in state["objects"] if not is_gone(item)]
    return 0, "deleted"


def _apply(state: dict[str, Any], text: str) -> tuple[int, str]:
    # Imported here: most calls only ask.
    import yaml

    state["changes"].append("apply")
    state["applied"] = text
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for each in filter(None, yaml.load_all(text, Loader=loader)):
        keys = ("apiVersion", "kind", "metadata")
        named = {key: each[key] for key in keys}
        state["objects"] = [o for o in state["objects"] if not _is_same(o, named)] + [named]
        if each["kind"] in ("Deployment", "DaemonSet"):
            prefix = DAEMON if each["kind"] == "DaemonSet" else ""
            _roll(state, prefix + each["metadata"]["name"], each["spec"]["template"])
    return 0, "serverside-applied"


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["kind"] == other["kind"]) and bool(
        one["metadata"]["name"] == other["metadata"]["name"]
    )


def _roll(state: dict[str, Any], name: str, template: dict[str, Any]) -> None:
    """A template that was there before keeps its place but for the number, which is the newest."""
    revisions = state["deployments"].setdefault(name, [])
    if revisions and revisions[-1]["template"] == template:
        return
    number = revisions[-1]["number"] + 1 if revisions else 1
    revisions[:] = [each for each in revisions if each["template"] != template]
    revisions.append({"number": number, "template": template})


def _undo(state: dict[str, Any], name: str, number: str) -> tuple[int, str]:
    state["changes"].append(f"undo {name} {number}")
    for each in state["deployments"].get(name, []):
        if str(each["number"]) == number:
            _roll(state, name, each["template"])
            return 0, "rolled back"
    return 1, f"unable to find specified revision {number} in history"
