#!/usr/bin/env bash
# The ElevenLabs client appends the multipart delimiter to the audio of compose_detailed.
#
# Expected: the server answers with a multipart body of one JSON part and one audio part, and
# `compose_detailed(...).audio` is the audio part, byte for byte.
# Seen: the audio runs to the end of the body, so CR LF and the closing delimiter are at its end.
# With output_format="pcm_44100" these bytes are samples: a click near full scale ends the sound.
# A JSON part with a second header after Content-Type raises ValueError.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q elevenlabs==2.78.0
cat > "$folder/try.py" <<'P'
import array
import sys
import threading
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from elevenlabs.client import ElevenLabs

SILENCE = bytes(2 * 4410)
KIND = "multipart/mixed; boundary=4f2a9c7e51d0b836"
second_header = [b""]


class Music(BaseHTTPRequestHandler):
    """Answers with a plan and a tenth of a second of silence."""

    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = build_body()
        self.send_response(200)
        self.send_header("Content-Type", KIND)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def build_body():
    line = b"--4f2a9c7e51d0b836"
    return b"".join(
        (
            line + b"\r\nContent-Type: application/json\r\n" + second_header[0] + b"\r\n",
            b'{"composition_plan": {}, "song_metadata": {}}\r\n',
            line + b"\r\nContent-Type: audio/pcm\r\n",
            b'Content-Disposition: attachment; filename="song.pcm"\r\n\r\n',
            SILENCE + b"\r\n" + line + b"--\r\n",
        )
    )


server = ThreadingHTTPServer(("127.0.0.1", 0), Music)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = ElevenLabs(api_key="key", base_url=f"http://127.0.0.1:{server.server_port}")
print("elevenlabs", version("elevenlabs"))
message = BytesParser().parsebytes(f"Content-Type: {KIND}\r\n\r\n".encode() + build_body())
parts = [part.get_payload(decode=True) for part in message.get_payload()]
audio = client.music.compose_detailed(prompt="silence", output_format="pcm_44100").audio
rest = audio[len(SILENCE) :]
loudest = max(map(abs, array.array("h", audio[: len(audio) // 2 * 2])))
print(f"sent {len(SILENCE)} bytes of silence; email.parser reads {len(parts[1])} bytes")
print(f"compose_detailed returns {len(audio)} bytes; they end with {rest}")
print(f"loudest sample: {loudest} of 32768")
second_header[0] = b"Content-Length: 45\r\n"
try:
    end = type(client.music.compose_detailed(prompt="silence")).__name__
except ValueError as error:
    end = repr(error)
print(f"two headers in the JSON part: {end}")
server.shutdown()
right = (
    parts[1] == SILENCE
    and audio.startswith(SILENCE)
    and rest == b"\r\n--4f2a9c7e51d0b836--\r\n"
    and end.startswith("ValueError")
)
sys.exit(0 if right else 1)
P
"$folder/venv/bin/python" "$folder/try.py"
