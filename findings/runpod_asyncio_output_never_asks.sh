#!/usr/bin/env bash
# RunPod's asyncio client never asks for the output of a job that is done.
#
# Expected: `await job.output()` of runpod's AsyncioEndpoint asks for the job's status until it has
# ended and returns its output, as `job.output()` of the plain client does.
# Seen: it sends no request at all and raises TimeoutError at once, also for a job that is done.
# After one `await job.status()` the same call returns the output. The plain client needs one
# request.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q runpod==1.12.0
cat > "$folder/try.py" <<'P'
import asyncio
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

asked = []


class Endpoint(BaseHTTPRequestHandler):
    """An endpoint whose jobs are done at once."""

    def log_message(self, *_):
        pass

    def reply(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked.append(self.path.split("/")[3])
        body = json.dumps({"id": "job", "status": "COMPLETED", "output": "bells"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = reply


server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/v2"
import runpod

runpod.api_key, runpod.endpoint_url_base = "key", url
import aiohttp


async def ask(with_status):
    asked.clear()
    async with aiohttp.ClientSession() as session:
        endpoint = runpod.AsyncioEndpoint("endpoint", session)
        job = await endpoint.run({"prompt": "bells"})
        if with_status:
            await job.status()
        try:
            return await job.output(), asked[1:]
        except TimeoutError as error:
            return repr(error), asked[1:]


seen = {"asyncio": asyncio.run(ask(False)), "asyncio after status": asyncio.run(ask(True))}
asked.clear()
job = runpod.Endpoint("endpoint").run({"prompt": "bells"})
seen["plain"] = (job.output(), asked[1:])
print("runpod", runpod.__version__)
for name, (output, requests) in seen.items():
    print(f"{name}: {output}; requests after the submission: {requests}")
server.shutdown()
right = (
    seen["asyncio"][0].startswith("TimeoutError") and seen["asyncio"][1] == []
    and seen["asyncio after status"][0] == "bells"
    and seen["plain"] == ("bells", ["status"])
)
sys.exit(0 if right else 1)
P
"$folder/venv/bin/python" "$folder/try.py"
