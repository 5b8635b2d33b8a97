"""The Helm chart, made from the rendered base and components of infra/k8s.

With the default values it renders the base's objects; `tests/infra/test_helm.py` holds both equal.
Exceptions: the ConfigMap's name has no hash, since a checksum in the pods' annotations replaces
them after a change; and the namespace is Helm's.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from infra.check.overlays import FOLDER, render
from infra.helm.templates import mark, mark_block, mark_lines, write_template
from infra.helm.values import build_schema, describe_values, list_defaults

CHART = Path(__file__).parent / "musicgen"
COMPONENTS = ("gateway", "ingress", "monitoring", "prepull", "identity-eks", "identity-gke")
"""Components that only add objects; a value turns each on."""
CLUSTER_WIDE = ("Namespace", "PriorityClass")
HELPERS = """{{- define "musicgen.image" -}}
{{ .repository }}
{{- with .tag }}:{{ . }}{{ end }}
{{- with .digest }}@{{ . }}{{ end }}
{{- end }}
{{- define "musicgen.node" -}}
{{- with .Values.worker.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- define "musicgen.pull" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
"""
NOTES = """MusicGen is in the namespace {{ .Release.Namespace }}.

Its Secret {{ .Values.database.secret }} needs the key url before a pod starts:
  kubectl -n {{ .Release.Namespace }} create secret generic {{ .Values.database.secret }} \\
    --from-file=url=/dev/stdin

A first key for callers:
  kubectl -n {{ .Release.Namespace }} exec deploy/musicgen-api -- \\
    python -m handlers.cli keys create me
{{- if not (or .Values.images.api.digest .Values.images.api.tag) }}

images.api has neither digest nor tag: set the images that you built (docs/compose.md).
{{- end }}

Meta's weights are licensed CC-BY-NC-4.0: no commercial use.
"""
Object = dict[str, Any]


def build_files() -> dict[str, str]:
    """Return the chart's files by path."""
    base = _render()
    defaults = list_defaults(base)
    files = {
        "Chart.yaml": yaml.safe_dump(
            {
                "apiVersion": "v2",
                "name": "musicgen",
                "description": "Text to music: job API and GPU workers, scaled to zero by KEDA",
                "type": "application",
                "version": "0.1.0",
                "kubeVersion": ">=1.34.0-0",
            },
            sort_keys=False,
        ),
        "values.yaml": describe_values(defaults),
        "values.schema.json": json.dumps(build_schema(defaults), indent=2) + "\n",
        "templates/_helpers.tpl": HELPERS + _write_bucket(),
        "templates/NOTES.txt": NOTES,
    }
    for item in base:
        condition = ".Values.namespace.create" if item["kind"] == "Namespace" else None
        files[_name_file(item)] = write_template(_put_values(item), condition)
    known = {_name_file(item) for item in base}
    for component in COMPONENTS:
        for item in _render(component):
            if _name_file(item) not in known:
                condition = f'(index .Values.components "{component}").enabled'
                path = _name_file(item, component)
                files[path] = write_template(_put_values(item), condition)
    return {path: _head(path) + text for path, text in files.items()}


def write_chart(folder: Path = CHART) -> None:
    """Write the chart's files, and delete files that it no longer has."""
    files = build_files()
    for path in folder.rglob("*"):
        if path.is_file() and str(path.relative_to(folder)) not in {*files, "README.md"}:
            path.unlink()
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def _render(component: str | None = None) -> list[Object]:
    """Render the base, or the base with one component."""
    if component is None:
        return render(FOLDER / "base")
    content = {"resources": ["../../base"], "components": [f"../../components/{component}"]}
    with TemporaryDirectory(prefix=".with-", dir=FOLDER / "overlays") as folder:
        path = Path(folder) / "kustomization.yaml"
        path.write_text(yaml.safe_dump({"namespace": "musicgen", **content}), encoding="utf-8")
        return render(Path(folder))


def _head(path: str) -> str:
    if path.endswith((".json", ".txt", ".tpl")):
        return ""
    return "# Written by `python -m infra.helm`; do not edit it.\n"


def _name_file(item: Object, component: str = "") -> str:
    kind = item["kind"].lower()
    return f"templates/{component + '-' if component else ''}{kind}-{_get_name(item)}.yaml"


def _get_name(item: Object) -> str:
    """Return the name, without the hash of a generated ConfigMap."""
    name: str = item["metadata"]["name"]
    is_settings = item["kind"] == "ConfigMap" and "MUSICGEN_SLOTS" in item.get("data", {})
    return "musicgen" if is_settings else name


def _put_values(item: Object) -> Object:
    """Return a copy with markers for the values."""
    item = copy.deepcopy(item)
    if item["kind"] not in CLUSTER_WIDE:
        item["metadata"]["namespace"] = mark(".Release.Namespace")
    if _get_name(item) != item["metadata"]["name"]:
        item["metadata"]["name"] = "musicgen"
        item["data"] = mark_block(".Values.settings")
    if item["kind"] == "Namespace":
        item["metadata"]["name"] = mark(".Release.Namespace")
    put = _SETTERS.get(item["kind"])
    if put is not None:
        put(item)
    return item


def _put_workload(item: Object) -> None:
    role = item["metadata"]["name"].removeprefix("musicgen-")
    pod = item["spec"]["template"]["spec"]
    is_worker = role in ("worker", "prepull")
    for container in pod["containers"]:
        image = "worker" if is_worker else "api"
        container["image"] = mark(f'include "musicgen.image" .Values.images.{image} | quote')
        for source in container.get("envFrom", []):
            source["configMapRef"] = {"name": "musicgen"}
        for variable in container.get("env", []):
            secret = variable.get("valueFrom", {}).get("secretKeyRef", {})
            if secret.get("name") == "musicgen-database":
                secret["name"] = mark(".Values.database.secret")
        if role in ("api", "worker"):
            container["resources"] = mark_block(f".Values.{role}.resources")
            container["env"].append({mark_lines("bucket"): None})
    if is_worker:
        pod["tolerations"] = mark_block(".Values.worker.tolerations")
        pod[mark_lines("node")] = None
    if role in ("api", "worker"):
        annotations = item["spec"]["template"]["metadata"]["annotations"]
        annotations["checksum/settings"] = mark("toYaml .Values.settings | sha256sum")
    if pod.get("serviceAccountName"):
        pod[mark_lines("pull")] = None


def _put_scaler(item: Object) -> None:
    item["spec"]["minReplicas"] = mark(".Values.api.minReplicas")
    item["spec"]["maxReplicas"] = mark(".Values.api.maxReplicas")


def _put_scaled_object(item: Object) -> None:
    spec = item["spec"]
    spec["minReplicaCount"] = mark(".Values.worker.minReplicas")
    spec["maxReplicaCount"] = mark(".Values.worker.maxReplicas")
    spec["cooldownPeriod"] = mark(".Values.worker.cooldownSeconds")
    for trigger in spec["triggers"]:
        trigger["metadata"]["targetQueryValue"] = mark(".Values.settings.MUSICGEN_SLOTS | quote")


def _put_authentication(item: Object) -> None:
    for source in item["spec"]["secretTargetRef"]:
        source["name"] = mark(".Values.database.secret")


def _put_policy(item: Object) -> None:
    if item["metadata"]["name"] == "database":
        item["spec"]["egress"][0]["ports"][0]["port"] = mark(".Values.database.port")


def _need(value: str) -> str:
    """Return the expression of a value that a component needs."""
    return f'required "{value} is needed" .Values.{value}'


def _put_gateway(item: Object) -> None:
    item["spec"]["gatewayClassName"] = mark(_need("components.gateway.class"))
    for listener in item["spec"]["listeners"]:
        listener["hostname"] = mark(_need("host"))


def _put_ingress(item: Object) -> None:
    item["spec"]["ingressClassName"] = mark(_need("components.ingress.class"))
    host = mark(_need("host"))
    for rule in item["spec"]["rules"]:
        rule["host"] = host
    for entry in item["spec"]["tls"]:
        entry["hosts"] = [host]


_SETTERS = {
    "DaemonSet": _put_workload,
    "Deployment": _put_workload,
    "Gateway": _put_gateway,
    "HorizontalPodAutoscaler": _put_scaler,
    "Ingress": _put_ingress,
    "NetworkPolicy": _put_policy,
    "ScaledObject": _put_scaled_object,
    "TriggerAuthentication": _put_authentication,
}


def _write_bucket() -> str:
    """Return the definition of the bucket's variables, those of its component."""
    path = FOLDER / "components/bucket/kustomization.yaml"
    component = yaml.safe_load(path.read_text(encoding="utf-8"))
    variables = [entry["value"] for entry in yaml.safe_load(component["patches"][0]["patch"])]
    for variable in variables:
        variable["valueFrom"]["secretKeyRef"]["name"] = "THE-SECRET"
    text = yaml.safe_dump(variables, sort_keys=False).replace(
        "THE-SECRET", "{{ .Values.bucket.secret }}"
    )
    opening = '{{- define "musicgen.bucket" -}}\n{{- if .Values.bucket.enabled }}\n'
    return f"{opening}{text}{{{{- end }}}}\n{{{{- end }}}}\n"
