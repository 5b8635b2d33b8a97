"""Objects of other people's kinds, as strictly as Kubernetes' own are checked: unknown fields,
wrong types and missing ones are errors. Only fields that are used here are known.

Written after the documents of KEDA 2.17, Gateway API 1.3, the Prometheus operator 0.80 and External
Secrets 0.16; a new field belongs here before it is used.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string", "minLength": 1}
WHOLE: Schema = {"type": "integer", "minimum": 0}
DURATION: Schema = {"type": "string", "pattern": r"^(\d+(h|m|s|ms))+$"}
LABELS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}


def of(required: dict[str, Schema], **optional: Schema) -> Schema:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **optional},
        "additionalProperties": False,
    }


def several(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


METADATA = of({"name": TEXT, "namespace": TEXT}, labels=LABELS, annotations=LABELS)


def thing(version: str, kind: str, spec: Schema) -> Schema:
    return of(
        {
            "apiVersion": {"const": version},
            "kind": {"const": kind},
            "metadata": METADATA,
            "spec": spec,
        }
    )


_POLICIES = several(
    of({"type": {"enum": ["Pods", "Percent"]}, "value": WHOLE, "periodSeconds": WHOLE})
)
_SCALING = of({"policies": _POLICIES}, stabilizationWindowSeconds=WHOLE)
_TRIGGER = of(
    {
        "type": {"const": "postgresql"},
        "metadata": of(
            {"query": TEXT, "targetQueryValue": {"type": "string", "pattern": r"^\d+(\.\d+)?$"}},
            activationTargetQueryValue={"type": "string", "pattern": r"^\d+(\.\d+)?$"},
        ),
        "authenticationRef": of({"name": TEXT}),
    },
    metricType={"enum": ["AverageValue", "Value"]},
)
SCALED_OBJECT = thing(
    "keda.sh/v1alpha1",
    "ScaledObject",
    of(
        {"scaleTargetRef": of({"name": TEXT}, kind=TEXT), "triggers": several(_TRIGGER)},
        minReplicaCount=WHOLE,
        maxReplicaCount=WHOLE,
        pollingInterval=WHOLE,
        cooldownPeriod=WHOLE,
        fallback=of({"failureThreshold": WHOLE, "replicas": WHOLE}),
        advanced=of(
            {},
            horizontalPodAutoscalerConfig=of(
                {"behavior": of({}, scaleUp=_SCALING, scaleDown=_SCALING)}
            ),
        ),
    ),
)
TRIGGER_AUTHENTICATION = thing(
    "keda.sh/v1alpha1",
    "TriggerAuthentication",
    of({"secretTargetRef": several(of({"parameter": TEXT, "name": TEXT, "key": TEXT}))}),
)
_LISTENER = of(
    {
        "name": TEXT,
        "protocol": {"enum": ["HTTP", "HTTPS", "TLS"]},
        "port": {"type": "integer", "minimum": 1, "maximum": 65535},
    },
    hostname=TEXT,
    tls=of({"mode": {"enum": ["Terminate"]}, "certificateRefs": several(of({"name": TEXT}))}),
    allowedRoutes=of({"namespaces": of({"from": {"enum": ["Same", "All"]}})}),
)
GATEWAY = thing(
    "gateway.networking.k8s.io/v1",
    "Gateway",
    of({"gatewayClassName": TEXT, "listeners": several(_LISTENER)}),
)
_RULE = of(
    {"backendRefs": several(of({"name": TEXT, "port": WHOLE}))},
    matches=several(of({"path": of({"type": {"enum": ["PathPrefix", "Exact"]}, "value": TEXT})})),
    timeouts=of({}, request=DURATION, backendRequest=DURATION),
)
HTTP_ROUTE = thing(
    "gateway.networking.k8s.io/v1",
    "HTTPRoute",
    of(
        {"parentRefs": several(of({"name": TEXT}, sectionName=TEXT)), "rules": several(_RULE)},
        hostnames=several(TEXT),
    ),
)
POD_MONITOR = thing(
    "monitoring.coreos.com/v1",
    "PodMonitor",
    of(
        {
            "selector": of({"matchLabels": LABELS}),
            "podMetricsEndpoints": several(
                of({"port": TEXT}, path=TEXT, interval=DURATION, scrapeTimeout=DURATION)
            ),
        }
    ),
)
_EXTERNAL = of({"secretKey": TEXT, "remoteRef": of({"key": TEXT}, property=TEXT)})
EXTERNAL_SECRET = thing(
    "external-secrets.io/v1",
    "ExternalSecret",
    of(
        {
            "secretStoreRef": of(
                {"kind": {"enum": ["SecretStore", "ClusterSecretStore"]}, "name": TEXT}
            ),
            "target": of({"name": TEXT}),
            "data": several(_EXTERNAL),
        },
        refreshInterval=DURATION,
    ),
)
SCHEMAS: dict[str, Schema] = {
    "ScaledObject": SCALED_OBJECT,
    "TriggerAuthentication": TRIGGER_AUTHENTICATION,
    "Gateway": GATEWAY,
    "HTTPRoute": HTTP_ROUTE,
    "PodMonitor": POD_MONITOR,
    "ExternalSecret": EXTERNAL_SECRET,
}
