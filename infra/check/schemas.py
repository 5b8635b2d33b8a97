"""Strict schemas of custom resources: unknown fields, wrong types and missing fields are errors.

The schemas have only the fields in use here; add a new field to the schema first. Sources: the
documentation of KEDA 2.17, Gateway API 1.3, the Prometheus operator 0.80 and External Secrets 0.16.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string", "minLength": 1}
WHOLE: Schema = {"type": "integer", "minimum": 0}
DURATION: Schema = {"type": "string", "pattern": r"^(\d+(h|m|s|ms))+$"}
LABELS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}


def build_object(required: dict[str, Schema], **optional: Schema) -> Schema:
    """Return the schema of an object with these fields and no others."""
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **optional},
        "additionalProperties": False,
    }


def build_array(items: Schema) -> Schema:
    """Return the schema of an array with at least one item."""
    return {"type": "array", "items": items, "minItems": 1}


METADATA = build_object({"name": TEXT, "namespace": TEXT}, labels=LABELS, annotations=LABELS)


def build_resource(version: str, kind: str, spec: Schema) -> Schema:
    """Return the schema of a custom resource."""
    return build_object(
        {
            "apiVersion": {"const": version},
            "kind": {"const": kind},
            "metadata": METADATA,
            "spec": spec,
        }
    )


_POLICIES = build_array(
    build_object({"type": {"enum": ["Pods", "Percent"]}, "value": WHOLE, "periodSeconds": WHOLE})
)
_SCALING = build_object({"policies": _POLICIES}, stabilizationWindowSeconds=WHOLE)
_TRIGGER = build_object(
    {
        "type": {"const": "postgresql"},
        "metadata": build_object(
            {"query": TEXT, "targetQueryValue": {"type": "string", "pattern": r"^\d+(\.\d+)?$"}},
            activationTargetQueryValue={"type": "string", "pattern": r"^\d+(\.\d+)?$"},
        ),
        "authenticationRef": build_object({"name": TEXT}),
    },
    metricType={"enum": ["AverageValue", "Value"]},
)
SCALED_OBJECT = build_resource(
    "keda.sh/v1alpha1",
    "ScaledObject",
    build_object(
        {
            "scaleTargetRef": build_object({"name": TEXT}, kind=TEXT),
            "triggers": build_array(_TRIGGER),
        },
        minReplicaCount=WHOLE,
        maxReplicaCount=WHOLE,
        pollingInterval=WHOLE,
        cooldownPeriod=WHOLE,
        fallback=build_object(
            {"failureThreshold": WHOLE, "replicas": WHOLE},
            behavior={
                "enum": [
                    "static",
                    "currentReplicas",
                    "currentReplicasIfHigher",
                    "currentReplicasIfLower",
                ]
            },
        ),
        advanced=build_object(
            {},
            horizontalPodAutoscalerConfig=build_object(
                {"behavior": build_object({}, scaleUp=_SCALING, scaleDown=_SCALING)}
            ),
        ),
    ),
)
TRIGGER_AUTHENTICATION = build_resource(
    "keda.sh/v1alpha1",
    "TriggerAuthentication",
    build_object(
        {
            "secretTargetRef": build_array(
                build_object({"parameter": TEXT, "name": TEXT, "key": TEXT})
            )
        }
    ),
)
_LISTENER = build_object(
    {
        "name": TEXT,
        "protocol": {"enum": ["HTTP", "HTTPS", "TLS"]},
        "port": {"type": "integer", "minimum": 1, "maximum": 65535},
    },
    hostname=TEXT,
    tls=build_object(
        {
            "mode": {"enum": ["Terminate"]},
            "certificateRefs": build_array(build_object({"name": TEXT})),
        }
    ),
    allowedRoutes=build_object({"namespaces": build_object({"from": {"enum": ["Same", "All"]}})}),
)
GATEWAY = build_resource(
    "gateway.networking.k8s.io/v1",
    "Gateway",
    build_object({"gatewayClassName": TEXT, "listeners": build_array(_LISTENER)}),
)
_REDIRECT = build_object(
    {
        "type": {"const": "RequestRedirect"},
        "requestRedirect": build_object(
            {"scheme": {"enum": ["http", "https"]}, "statusCode": {"enum": [301, 302]}}
        ),
    }
)
_RULE = build_object(
    {},
    backendRefs=build_array(build_object({"name": TEXT, "port": WHOLE})),
    filters=build_array(_REDIRECT),
    matches=build_array(
        build_object(
            {"path": build_object({"type": {"enum": ["PathPrefix", "Exact"]}, "value": TEXT})}
        )
    ),
    timeouts=build_object({}, request=DURATION, backendRequest=DURATION),
)
HTTP_ROUTE = build_resource(
    "gateway.networking.k8s.io/v1",
    "HTTPRoute",
    build_object(
        {
            "parentRefs": build_array(build_object({"name": TEXT}, sectionName=TEXT)),
            "rules": build_array(_RULE),
        },
        hostnames=build_array(TEXT),
    ),
)
_SELECTOR = build_object(
    {},
    matchLabels=LABELS,
    matchExpressions=build_array(
        build_object(
            {"key": TEXT, "operator": {"enum": ["In", "NotIn", "Exists", "DoesNotExist"]}},
            values=build_array(TEXT),
        )
    ),
)
POD_MONITOR = build_resource(
    "monitoring.coreos.com/v1",
    "PodMonitor",
    build_object(
        {
            "selector": _SELECTOR,
            "podMetricsEndpoints": build_array(
                build_object({"port": TEXT}, path=TEXT, interval=DURATION, scrapeTimeout=DURATION)
            ),
        },
        jobLabel=TEXT,
    ),
)
_ALERTING_RULE = build_object(
    {"alert": TEXT, "expr": TEXT},
    **{"for": DURATION, "labels": LABELS, "annotations": LABELS, "keep_firing_for": DURATION},
)
_RECORDING_RULE = build_object({"record": TEXT, "expr": TEXT}, labels=LABELS)
PROMETHEUS_RULE = build_resource(
    "monitoring.coreos.com/v1",
    "PrometheusRule",
    build_object(
        {
            "groups": build_array(
                build_object(
                    {
                        "name": TEXT,
                        "rules": build_array({"oneOf": [_ALERTING_RULE, _RECORDING_RULE]}),
                    },
                    interval=DURATION,
                )
            )
        }
    ),
)
_EXTERNAL = build_object(
    {"secretKey": TEXT, "remoteRef": build_object({"key": TEXT}, property=TEXT)}
)
EXTERNAL_SECRET = build_resource(
    "external-secrets.io/v1",
    "ExternalSecret",
    build_object(
        {
            "secretStoreRef": build_object(
                {"kind": {"enum": ["SecretStore", "ClusterSecretStore"]}, "name": TEXT}
            ),
            "target": build_object({"name": TEXT}),
            "data": build_array(_EXTERNAL),
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
    "PrometheusRule": PROMETHEUS_RULE,
    "ExternalSecret": EXTERNAL_SECRET,
}
