"""A webhook comes once it is taken, signed, and never goes where it must not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from standardwebhooks.webhooks import Webhook

from handlers.job_api.store.webhook_deliveries import PAUSES
from tests.handlers.job_api.test_security import Guarded
from tests.support.job_server import data_folder, job_server
from tests.support.webhook_receiver import Receiver


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    own = {"MUSICGEN_WEBHOOK_NETWORKS": "127.0.0.0/8", "MUSICGEN_API_AUTH": "on"}
    with data_folder() as folder, job_server(folder, **own) as server:
        yield Guarded(server, {})


def test_it_is_signed_and_tells_the_end(guarded: Guarded) -> None:
    told = guarded.command("create", "one")
    guarded.keys["one"] = told.split("key: ")[1].split()[0]
    secret = told.split("webhook secret: ")[1].split()[0]
    receiver = Receiver()
    with guarded.as_("one") as one:
        body = {"prompt": "x", "duration": 0.2, "webhook_url": receiver.url + "/taken"}
        job_id = one.post("/generate", json=body).json()["job_id"]
        receiver.until(taken=1)
        headers, content = receiver.taken[0]
        verified = Webhook(secret).verify(content.decode(), headers)
        assert verified == json.loads(content)
        assert verified["type"] == "job.completed"
        assert verified["data"] == one.get(f"/status/{job_id}").json()
        moved = one.post("/generate", json={**body, "webhook_url": receiver.url + "/moved"})
        assert moved.status_code == 202
        receiver.until(asked=2)
        assert len(receiver.taken) == 1, "a redirect is not followed"


def test_one_that_is_not_taken_comes_again(guarded: Guarded) -> None:
    assert PAUSES[0] <= 5
    receiver = Receiver(refusals=1)
    told = guarded.command("create", "two")
    guarded.keys["two"] = told.split("key: ")[1].split()[0]
    with guarded.as_("two") as two:
        body = {"prompt": "x", "duration": 0.2, "webhook_url": receiver.url}
        two.post("/generate", json=body)
    receiver.until(taken=1)
    ids = {headers["webhook-id"] for headers, _ in receiver.taken}
    assert len(receiver.taken) == len(ids) == 1 and receiver.asked == 2
