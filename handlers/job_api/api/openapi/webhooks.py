"""Webhook deliveries in the OpenAPI document, with their headers."""

from __future__ import annotations

from typing import Any

from handlers.job_api.store.jobs import FINAL

JOB_EVENT = "JobEvent"
_DESCRIPTION = """The server sends this to the `webhook_url` of a job once it has finished. A reply
other than 2xx is sent again, for seven hours. The form is that of
[Standard Webhooks](https://www.standardwebhooks.com)."""


def build_webhooks() -> dict[str, Any]:
    """Return the document's webhooks."""
    return {
        "job_finished": {
            "post": {
                "tags": ["webhooks"],
                "operationId": "receive_job_event",
                "summary": "Receive the end of a job",
                "description": _DESCRIPTION,
                "security": [],
                "parameters": [
                    _describe_header("webhook-id", "The job's id; repetitions have the same one."),
                    _describe_header("webhook-timestamp", "Time of this attempt, in Unix seconds."),
                    _describe_header(
                        "webhook-signature",
                        "`v1,` and the HMAC-SHA256 of id, timestamp and body in base64, made with "
                        "the webhook secret of the caller's key. Absent for jobs without a key.",
                        is_required=False,
                    ),
                ],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {"$ref": f"#/components/schemas/{JOB_EVENT}"}
                        }
                    },
                },
                "responses": {
                    "2XX": {"description": "The event is received, and not sent again."},
                    "4XX": {"description": "The event is sent again later."},
                    "5XX": {"description": "The event is sent again later."},
                },
            }
        }
    }


def build_event_schemas() -> dict[str, Any]:
    """Return the schemas of the webhook's body and of a server-sent event."""
    status = {"$ref": "#/components/schemas/Status"}
    return {
        JOB_EVENT: {
            "type": "object",
            "title": JOB_EVENT,
            "description": "Body of a webhook.",
            "required": ["type", "data"],
            "properties": {
                "type": {"type": "string", "enum": [f"job.{state}" for state in sorted(FINAL)]},
                "data": status,
            },
        },
        "StatusEvent": {
            "type": "object",
            "title": "StatusEvent",
            "description": "Server-sent event: one for each change of a job's status.",
            "required": ["event", "data"],
            "properties": {
                "event": {"type": "string", "const": "status"},
                "data": {
                    "type": "string",
                    "description": "A Status as JSON.",
                    "contentMediaType": "application/json",
                    "contentSchema": status,
                },
            },
        },
    }


def _describe_header(name: str, description: str, *, is_required: bool = True) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": is_required,
        "description": description,
        "schema": {"type": "string"},
    }
