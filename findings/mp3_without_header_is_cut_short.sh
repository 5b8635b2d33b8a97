#!/usr/bin/env bash
# libsndfile ends a VBR MP3 without an info frame where its own estimate of the length ends.
#
# Expected: `soundfile.info` may guess the length of such a file, as every player does, but
# `soundfile.read` decodes to the end of the data. An MP3 recorded or sent as a stream has no info
# frame, because nobody knows its length while it is written.
# Seen: the estimate comes from the first frames, and the reader stops there. A sound that begins
# quietly needs more bits later, so it loses most of its length. There is no error and no warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q soundfile==0.14.0 lameenc==1.9.0 numpy==2.4.6
cat > "$folder/try.py" <<'P'
import io
import sys

import lameenc
import numpy as np
import soundfile as sf

RATE, SECONDS = 44_100, 12
random = np.random.default_rng(0)
tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(RATE * SECONDS) / RATE)
noise = np.where(np.arange(RATE * SECONDS) < RATE, 0.0, 0.3) * random.standard_normal(RATE * SECONDS)
samples = ((tone + noise).clip(-1, 1) * 32767).astype(np.int16)
read = {}
for name, mode in (("constant", None), ("variable", lameenc.VBR_MTRH)):
    encoder = lameenc.Encoder()
    encoder.set_channels(1)
    encoder.set_in_sample_rate(RATE)
    encoder.set_bit_rate(128)
    if mode is not None:
        encoder.set_vbr(mode)
    data = bytes(encoder.encode(samples.tobytes()) + encoder.flush())
    told = sf.info(io.BytesIO(data)).duration
    sound, rate = sf.read(io.BytesIO(data))
    read[name] = len(sound) / rate
    print(f"{name} bitrate: {SECONDS} s encoded, {told:.2f} s told, {read[name]:.2f} s read")
print("soundfile", sf.__version__, sf.__libsndfile_version__, "lameenc 1.9.0")
sys.exit(0 if read["constant"] > 11.9 and read["variable"] < 8 else 1)
P
"$folder/venv/bin/python" "$folder/try.py"
