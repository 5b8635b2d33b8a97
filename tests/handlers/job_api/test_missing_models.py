"""Models that no worker can have: marked in the list of models, and refused in requests."""

from __future__ import annotations

import time

from tests.support.agents import over_http, run, text
from tests.support.job_server import JobServer, data_folder, job_server

CLIP = {"prompt": "bells", "duration": 1}


def read_available(server: JobServer) -> set[str]:
    models = server.http.get("/v1/models").json()["data"]
    return {model["id"] for model in models if model["available"]}


def test_without_the_hub_only_models_at_hand_are_available() -> None:
    with data_folder() as folder:
        nothing = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": folder.parent / "empty"}
        with job_server(folder, "api", **nothing) as server:
            # Without a worker nothing is known to be missing.
            assert len(read_available(server)) > 5
            accepted = server.http.post("/v1/generate", json={**CLIP, "model_version": "large"})
            assert accepted.status_code == 202
            server.http.post(f"/v1/jobs/{accepted.json()['job_id']}/cancel").raise_for_status()
        with job_server(folder, **nothing) as server:
            for _ in range(200):
                if read_available(server) == {"demo"}:
                    break
                time.sleep(0.1)
            assert read_available(server) == {"demo"}
            check_refusals(server)


def check_refusals(server: JobServer) -> None:
    """Check each call that names a model, by any of the model's names."""
    for name in ("large", "facebook/musicgen-large"):
        answer = server.http.post("/v1/generate", json={**CLIP, "model_version": name})
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert (error["code"], error["field"]) == ("model_unavailable", "model_version")
        assert "These can be loaded: demo." in error["message"]
    own = {"input": "bells", "model": "large"}
    waiting = server.http.post("/v1/audio/speech", json=own)
    assert waiting.status_code == 404
    error = waiting.json()["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "These can be loaded: demo." in error["message"]

    async def ask_agent() -> None:
        async with over_http(server.url) as agent:
            asked = {"prompt": "bells", "model_version": "large"}
            refused = await agent.call_tool("generate_music", asked)
            assert refused.is_error and "These can be loaded: demo." in text(refused)

    run(ask_agent)
    made = server.http.post("/v1/generate", json={**CLIP, "model_version": "demo"})
    assert made.status_code == 202
