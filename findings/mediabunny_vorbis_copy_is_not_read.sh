#!/usr/bin/env bash
# Mediabunny copies an Ogg Vorbis file into one that soundfile and mutagen cannot read.
#
# Expected: `Conversion` from Ogg to Ogg copies the Vorbis packets as they are, so the copy has the
# samples of the original. FFmpeg's copy has them, and so has Mediabunny's copy of Ogg Opus.
# Seen: the comment header that Mediabunny writes lacks its last byte, the framing bit. soundfile
# opens the copy, tells a length of its own and reads no sample; mutagen raises IndexError. FFmpeg
# decodes the copy, and the first 128 samples are missing: the first packet is not copied. It has
# no samples of its own, but the second one cannot be decoded without it. There is no warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q soundfile==0.14.0 av==18.1.0 mutagen==1.48.1 numpy==2.4.6
npm install --silent --no-audit --no-fund --prefix "$folder" mediabunny@1.61.0
cat > "$folder/copy.mjs" <<'J'
import fs from "node:fs";
import * as bunny from "mediabunny";

const [source, target] = process.argv.slice(2);
const input = new bunny.Input({
  source: new bunny.BufferSource(fs.readFileSync(source)),
  formats: bunny.ALL_FORMATS,
});
const output = new bunny.Output({
  format: new bunny.OggOutputFormat(),
  target: new bunny.BufferTarget(),
});
const conversion = await bunny.Conversion.init({ input, output });
if (!conversion.isValid) throw new Error("the conversion is not valid");
await conversion.execute();
fs.writeFileSync(target, Buffer.from(output.target.buffer));
J
cat > "$folder/try.py" <<'P'
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import av
import mutagen
import numpy as np
import soundfile

RATE, COUNT = 48_000, 144_123
folder = Path(sys.argv[1])
time = np.arange(COUNT) / RATE
noise = np.random.default_rng(0).standard_normal(COUNT)
sound = 0.3 * np.sin(2 * np.pi * 440 * time) + 0.05 * noise


def decode_ffmpeg(path):
    with av.open(str(path)) as file:
        return np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])


def copy_ffmpeg(source, target):
    with av.open(str(source)) as file, av.open(str(target), "w") as copy:
        stream = copy.add_stream_from_template(file.streams.audio[0])
        for packet in file.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)


def copy_mediabunny(source, target):
    subprocess.run(["node", folder / "copy.mjs", source, target], check=True)


def read_length(path):
    try:
        return round(mutagen.File(path).info.length * RATE)
    except IndexError as error:
        return type(error).__name__


print(*(f"{name} {version(name)}" for name in ("soundfile", "av", "mutagen")), "mediabunny 1.61.0")
seen = {}
for subtype in ("OPUS", "VORBIS"):
    source = folder / f"{subtype}.ogg"
    soundfile.write(source, sound, RATE, format="OGG", subtype=subtype)
    original = decode_ffmpeg(source)
    for copy in (copy_ffmpeg, copy_mediabunny):
        target = folder / f"{subtype}-copy.ogg"
        copy(source, target)
        decoded = decode_ffmpeg(target)
        missing = len(original) - len(decoded)
        same = bool(np.array_equal(original[missing:][1024:], decoded[1024:]))
        read = len(soundfile.read(target)[0])
        told = soundfile.info(target).frames
        tag = read_length(target)
        seen[subtype, copy.__name__] = (read, missing, same, tag)
        print(f"{subtype}, {copy.__name__}: soundfile tells {told} and reads {read} samples of {COUNT},")
        print(f"  mutagen {tag}; FFmpeg misses {missing} at the start, the rest is equal: {same}")
comment = (folder / "VORBIS-copy.ogg").read_bytes().partition(b"\x05vorbis")[0]
print(f"the comment header ends with {comment[-11:]}")
whole = (COUNT, 0, True, COUNT)
right = seen == {
    ("OPUS", "copy_ffmpeg"): whole,
    ("OPUS", "copy_mediabunny"): whole,
    ("VORBIS", "copy_ffmpeg"): whole,
    ("VORBIS", "copy_mediabunny"): (0, 128, True, "IndexError"),
}
sys.exit(0 if right else 1)
P
"$folder/venv/bin/python" "$folder/try.py" "$folder"
