#!/usr/bin/env bash
# libopus codes cymbals and noise of music with its voice codec up to 48 kbit/s.
#
# Expected: libsndfile opens the encoder for general audio, and at 48 kbit/s in mono music is coded by
# CELT, the codec for music, which keeps the energy of each band. Voice mode is for low rates.
# Seen: at 48 kbit/s all packets of steady noise and a third of those of a cymbal over a bass tone are
# hybrid, with the voice codec SILK below 8 kHz. The noise loses twice as many decibels as at 56
# kbit/s, where no packet is hybrid. libsndfile has no option that tells libopus that it is music.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q soundfile==0.14.0 numpy==2.4.6
cat > "$folder/try.py" <<'P'
import io
import sys

import numpy as np
import soundfile as sf

RATE, SECONDS = 48_000, 6
time = np.arange(RATE * SECONDS) / RATE
noise = 0.1 * np.random.default_rng(3).standard_normal(len(time))
SOUNDS = {
    "noise": noise,
    "cymbal and bass": noise * np.exp(-6 * (time % 0.25)) + 0.01 * np.sin(2 * np.pi * 110 * time),
    "chord": sum(0.05 * np.sign(np.sin(2 * np.pi * pitch * time)) for pitch in (220, 277, 330)),
}


def read_packets(ogg):
    """Return the packets of sound of an Ogg file: those after the two headers (RFC 3533)."""
    packets, packet, at = [], b"", 0
    while at < len(ogg):
        count = ogg[at + 26]
        lengths = ogg[at + 27 : at + 27 + count]
        at += 27 + count
        for length in lengths:
            packet += ogg[at : at + length]
            at += length
            if length < 255:
                packets.append(packet)
                packet = b""
    return packets[2:]


def encode(sound, kbits):
    """Return the part of the packets that are no CELT (RFC 6716, 3.1), and the change of level."""
    file = io.BytesIO()
    level = (256 - kbits) / 250
    sf.write(file, sound[:, None], RATE, format="OGG", subtype="OPUS", compression_level=level)
    packets = read_packets(file.getvalue())
    voice = sum(packet[0] >> 3 < 16 for packet in packets) / len(packets)
    file.seek(0)
    decoded, _ = sf.read(file)
    return voice, 10 * np.log10(np.mean(decoded**2) / np.mean(sound**2))


found = {}
for name, sound in SOUNDS.items():
    for kbits in (32, 48, 56, 64):
        voice, change = found[name, kbits] = encode(sound, kbits)
        print(f"{name}, {kbits} kbit/s: {voice:.0%} of the packets hybrid, level {change:+.2f} dB")
print("soundfile", sf.__version__, sf.__libsndfile_version__)
is_seen = (
    found["noise", 48][0] == 1
    and 0.2 < found["cymbal and bass", 48][0] < 0.5
    and all(found[name, kbits][0] == 0 for name in SOUNDS for kbits in (56, 64))
    and found["noise", 48][1] < 1.8 * found["noise", 56][1]
)
sys.exit(not is_seen)
P
"$folder/venv/bin/python" "$folder/try.py"
