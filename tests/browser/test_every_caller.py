"""Every kind of caller makes, hears and deletes a clip of one server: programs, agent and page."""

from __future__ import annotations

import base64
import io
import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile

from tests.browser.steps import job_in_address, submit, wait_for_state, wait_until_it_plays
from tests.support import ROOT
from tests.support.generated_clients import (
    GENERATOR,
    compile_example,
    python_of_generator,
    run,
    typescript_project,
)

pytestmark = pytest.mark.browser


def _is_gone(server: str, job_id: str) -> bool:
    statuses = {
        httpx.get(f"{server}{path}").status_code
        for path in (f"/v1/status/{job_id}", f"/v1/audio/{job_id}.wav", f"/audio/{job_id}.mp3")
    }
    return statuses == {404}


def _seconds(content: bytes) -> float:
    return float(soundfile.info(io.BytesIO(content)).duration)


def test_openai(server: str) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{server}/v1", api_key="none") as client:
        assert "demo" in [model.id for model in client.models.list()]
        speech = client.audio.speech.create(
            model="demo", input="calm piano", voice="none", extra_body={"duration": 1}
        )
        assert _seconds(speech.content) == pytest.approx(1, abs=0.1)
        job_id = speech.response.headers["x-job-id"]
        client.delete(f"/jobs/{job_id}", cast_to=httpx.Response)
    assert _is_gone(server, job_id)


def test_curl_as_vllm_omni_documents_it(server: str, tmp_path: Path) -> None:
    headers, clip = tmp_path / "headers", tmp_path / "clip.wav"
    body = {"input": "calm piano", "audio_length": 1.0, "response_format": "wav"}
    send = ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    address = f"{server}/v1/audio/generate"
    curl = ["curl", "-sSf"]
    subprocess.run([*curl, "-D", headers, "-o", clip, "-X", "POST", address, *send], check=True)
    assert soundfile.info(clip).duration == pytest.approx(1, abs=0.01)
    lines = headers.read_text().lower().splitlines()
    (job_id,) = (line.split(": ")[1] for line in lines if line.startswith("x-job-id"))
    subprocess.run([*curl, "-X", "DELETE", f"{server}/v1/jobs/{job_id}"], check=True)
    assert _is_gone(server, job_id)


def test_this_project_s_client(server: str, tmp_path: Path) -> None:
    from musicgen_client import MusicGenClient

    with MusicGenClient(server) as client:
        job = client.generate(prompt="calm piano", duration=1)
        (path,) = client.save(job, tmp_path / "clip.wav")
        assert soundfile.info(path).duration == pytest.approx(1, abs=0.01)
        client.delete(job.id)
    assert _is_gone(server, job.id)


def test_a_generated_python_client(server: str, tmp_path: Path) -> None:
    python = python_of_generator()
    source = tmp_path / "openapi.json"
    source.write_text(httpx.get(f"{server}/openapi.json").text, encoding="utf-8")
    package = ("--output-path", tmp_path / "job_client", "--meta", "none")
    run(python.parent / GENERATOR, "generate", "--path", source, *package, folder=tmp_path)
    caller = ROOT / "tests" / "support" / "generated_caller.py"
    told = run(python, caller, server, "delete_job", folder=tmp_path, PYTHONPATH=str(tmp_path))
    made = json.loads(told)
    assert (made["head"], made["status"]) == ("RIFF", "completed")
    assert _is_gone(server, made["job_id"])


def test_a_generated_typescript_client(server: str, tmp_path: Path) -> None:
    project = typescript_project(tmp_path, httpx.get(f"{server}/openapi.json").json())
    run("npm", "run", "generate", folder=project)
    made = json.loads(run("node", compile_example(project), server, folder=project))
    assert made["head"] == "RIFF"
    assert _is_gone(server, made["job_id"])


def test_an_agent(server: str) -> None:
    pytest.importorskip("mcp")
    with ThreadPoolExecutor(1) as pool:  # the thread of the browser has an event loop of its own
        job_id, sound = pool.submit(_ask_as_agent, server).result()
    assert _seconds(sound) == pytest.approx(1, abs=0.1)
    assert _is_gone(server, job_id)


def _ask_as_agent(server: str) -> tuple[str, bytes]:
    from tests.support.agents import fields, over_http
    from tests.support.agents import run as run_agent

    made: list[tuple[str, bytes]] = []

    async def work() -> None:
        async with over_http(server) as agent:
            wanted = {"prompt": "calm piano", "duration": 1}
            result = await agent.call_tool("generate_music", wanted)
            job_id = fields(result)["job_id"]
            (sound,) = (part.data for part in result.content if part.type == "audio")
            made.append((job_id, base64.b64decode(sound)))
            deleted = fields(await agent.call_tool("delete_clip", {"job_id": job_id}))
            assert deleted == {"job_id": job_id, "is_gone": True}

    run_agent(work)
    return made[0]


def test_the_page(server: str, visit: Callable[..., AbstractContextManager[Any]]) -> None:
    with visit(server) as page:
        submit(page, prompt="every caller", seconds="1")
        wait_for_state(page, "completed")
        job_id = job_in_address(page)
        page.locator(".player button").first.click()
        wait_until_it_plays(page)
        page.get_by_role("button", name="Delete: every caller").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        page.get_by_text("Deleted: every caller").wait_for(state="attached")
    assert _is_gone(server, job_id)
