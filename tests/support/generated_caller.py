"""Make, hear and delete a clip with a client by openapi-python-client; the package is `job_client`.

It runs in the generator's environment, which has no part of this project: `URL DELETE_OPERATION`.
"""

from __future__ import annotations

import datetime
import importlib
import json
import sys
import time

from job_client import Client
from job_client.api.audio import get_audio
from job_client.api.jobs import generate, get_status, list_jobs
from job_client.api.models import list_models
from job_client.models import ErrorReply, GenerationRequest, State

url, delete_operation = sys.argv[1:]
client = Client(base_url=url, raise_on_unexpected_status=True)
models = list_models.sync(client=client)
body = GenerationRequest(prompt="calm piano", duration=1.0, seed=7)
job_id = generate.sync(client=client, body=body, idempotency_key="from a generated client").job_id
again = generate.sync(client=client, body=body, idempotency_key="from a generated client")
end = time.monotonic() + 90
while (status := get_status.sync(job_id, client=client)).status in (State.QUEUED, State.RUNNING):
    assert time.monotonic() < end, status
    time.sleep(0.1)
assert isinstance(status.finished_at, datetime.datetime)
clip = get_audio.sync(f"{job_id}.wav", client=client).payload.read()
listed = list_jobs.sync(client=client, status=State.COMPLETED)
missing = get_audio.sync(f"{job_id}-2.wav", client=client)
assert isinstance(missing, ErrorReply)
delete = importlib.import_module(f"job_client.api.jobs.{delete_operation}")
sys.stdout.write(
    json.dumps(
        {
            "default": models.default,
            "job_id": job_id,
            "again": again.job_id,
            "status": str(status.status),
            "sha256": status.result.clips[0].sha256,
            "prompt": status.request.prompt,
            "head": clip[:4].decode("latin1"),
            "bytes": len(clip),
            "listed": [each.job_id for each in listed.jobs],
            "missing": missing.error.code,
            "deleted": int(delete.sync_detailed(job_id, client=client).status_code),
        }
    )
)
