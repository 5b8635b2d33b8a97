#!/usr/bin/env bash
# huggingface_hub 2 resumes a download after a close, but not after a reset.
#
# Expected: a server that loses its connection in the middle of a file is asked again, however the
# connection ends. Both endings come from the same restart of a proxy, and the library has a loop
# of retries around the body of a file.
# Seen: after a clean close (FIN) the file is asked for again and arrives whole. After a reset (RST)
# there is one request; httpx2.ReadError leaves hf_hub_download. It is neither an OSError nor an
# error of huggingface_hub, so a program that catches those two ends in a traceback.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q huggingface_hub==2.4.0 httpx2==2.16.2
cat > "$folder/try.py" <<'P'
import hashlib
import os
import socket
import struct
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY = bytes(range(256)) * 4096
TAG = hashlib.sha256(BODY).hexdigest()
asked, ending = [], ["close"]


class Hub(BaseHTTPRequestHandler):
    """Serves one file, and loses the connection in the middle of its first answer."""

    def log_message(self, *_):
        pass

    def answer_head(self, first=0):
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(BODY) - 1}/{len(BODY)}")
        self.send_header("Content-Length", str(len(BODY) - first))
        self.send_header("ETag", f'"{TAG}"')
        self.send_header("X-Repo-Commit", "0" * 39 + "1")
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()

    def do_HEAD(self):
        self.answer_head()

    def do_GET(self):
        wanted = self.headers.get("Range")
        asked.append(wanted or "whole")
        first = int(wanted.split("=")[1].split("-")[0]) if wanted else 0
        self.answer_head(first)
        if len(asked) > 1:
            self.wfile.write(BODY[first:])
            return
        self.wfile.write(BODY[: len(BODY) // 2])
        self.wfile.flush()
        threading.Event().wait(0.5)  # the client reads what was sent
        if ending[0] == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close() if ending[0] == "reset" else None


server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
os.environ["HF_HUB_DISABLE_XET"] = "1"
import huggingface_hub
from huggingface_hub import errors, hf_hub_download

print("huggingface_hub", huggingface_hub.__version__)
seen = {}
for way in ("close", "reset"):
    ending[0] = way
    asked.clear()
    with tempfile.TemporaryDirectory() as cache:
        try:
            path = hf_hub_download("o/m", "weights.bin", cache_dir=cache)
            end = "whole" if open(path, "rb").read() == BODY else "damaged"
        except Exception as error:  # whatever leaves the library is the observation
            own = isinstance(error, (OSError, errors.HfHubHTTPError))
            end = f"{type(error).__module__.split('.')[0]}.{type(error).__name__}, caught by OSError or HfHubHTTPError: {own}"
    seen[way] = (end, len(asked))
    print(f"{way}: {end}; requests for the file: {asked}")
server.shutdown()
right = seen == {
    "close": ("whole", 2),
    "reset": ("httpx2.ReadError, caught by OSError or HfHubHTTPError: False", 1),
}
sys.exit(0 if right else 1)
P
"$folder/venv/bin/python" "$folder/try.py"
