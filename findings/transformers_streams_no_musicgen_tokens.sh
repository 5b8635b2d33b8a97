#!/usr/bin/env bash
# transformers 5 gives MusicGen's streamer the start tokens, and nothing more.
#
# Expected: `generate(streamer=...)` of MusicgenForConditionalGeneration hands each step's tokens to
# the streamer and calls its end(), as transformers 4 did. Programs play MusicGen while it is
# generated this way: the streamer collects tokens, and a second thread waits for them.
# Seen: put() is called once, with the start tokens, before the first step. end() is never called,
# so whoever reads from the streamer gets no sound and no end. The clip itself is generated whole,
# without a warning. MusicgenMelodyForConditionalGeneration streams each step and the end.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q transformers==5.24.0 torch==2.13.0
cat > "$folder/try.py" <<'P'
import sys

import torch
import transformers
from transformers import (
    EncodecConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    MusicgenMelodyConfig,
    MusicgenMelodyDecoderConfig,
    MusicgenMelodyForConditionalGeneration,
    T5Config,
)
from transformers.generation.streamers import BaseStreamer

STEPS, START = 50, 64


class Listener(BaseStreamer):
    """Counts the calls of generate()."""

    def __init__(self):
        self.puts, self.ends = 0, 0

    def put(self, value):
        self.puts += 1

    def end(self):
        self.ends += 1


def build_model(model, config, decoder):
    """Returns a small random model of the named classes, with MusicGen's four codebooks."""
    layers = {"num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64, "hidden_size": 32}
    ids = {"vocab_size": START, "pad_token_id": START, "bos_token_id": START}
    text = T5Config(vocab_size=99, d_model=32, d_ff=37, d_kv=8, num_layers=2, num_heads=4)
    codec = EncodecConfig(
        sampling_rate=32_000, upsampling_ratios=[8, 5, 4, 4], target_bandwidths=[1.2],
        codebook_size=START, codebook_dim=32, hidden_size=32, num_filters=8,
    )  # fmt: skip
    torch.manual_seed(0)
    decoder = decoder(num_codebooks=4, **layers, **ids)
    built = model(config(text_encoder=text, audio_encoder=codec, decoder=decoder)).eval()
    built.generation_config.decoder_start_token_id = START
    built.generation_config.pad_token_id = START
    built.generation_config.bos_token_id = START
    return built


print("transformers", transformers.__version__)
seen = {}
for classes in (
    (MusicgenForConditionalGeneration, MusicgenConfig, MusicgenDecoderConfig),
    (MusicgenMelodyForConditionalGeneration, MusicgenMelodyConfig, MusicgenMelodyDecoderConfig),
):
    model, name, listener = build_model(*classes), classes[0].__name__, Listener()
    prompt = torch.tensor([[5, 6, 7, 1]])
    sound = model.generate(
        input_ids=prompt, attention_mask=torch.ones_like(prompt), streamer=listener,
        max_new_tokens=STEPS, do_sample=False, guidance_scale=3.0,
    )  # fmt: skip
    seen[name] = (listener.puts, listener.ends)
    print(f"{name}: {STEPS} steps, {sound.shape[-1]} samples;", end=" ")
    print(f"put() was called {listener.puts} times, end() {listener.ends} times")
right = seen == {
    "MusicgenForConditionalGeneration": (1, 0),
    "MusicgenMelodyForConditionalGeneration": (STEPS + 1, 1),
}
sys.exit(0 if right else 1)
P
"$folder/venv/bin/python" "$folder/try.py"
