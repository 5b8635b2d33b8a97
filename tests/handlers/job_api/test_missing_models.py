"""Models that no worker can have are marked in the list of models."""

from __future__ import annotations

import time

from tests.support.job_server import JobServer, data_folder, job_server


def read_available(server: JobServer) -> set[str]:
    models = server.http.get("/v1/models").json()["data"]
    return {model["id"] for model in models if model["available"]}


def test_without_the_hub_only_models_at_hand_are_available() -> None:
    with data_folder() as folder:
        nothing = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": folder.parent / "empty"}
        with job_server(folder, "api", **nothing) as server:
            # Without a worker nothing is known to be missing.
            assert len(read_available(server)) > 5
        with job_server(folder, **nothing) as server:
            for _ in range(200):
                if read_available(server) == {"demo"}:
                    break
                time.sleep(0.1)
            assert read_available(server) == {"demo"}
