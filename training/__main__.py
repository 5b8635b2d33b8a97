"""Train the demo from the start: codec, language model, checkpoint, figures and model card.

    python -m training --folder FOLDER

The run may be stopped at any time; the same command resumes it. The result is FOLDER/checkpoint.
Use it with `musicgen --model FOLDER/checkpoint`; the package ships it as `demo`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch

from musicgen.evaluation.evaluate import EvaluationPlan, evaluate
from musicgen.settings import Settings
from training.card import write_card
from training.codec.report import codec_report
from training.codec.train import Run as CodecRun
from training.export import export
from training.held_out import write_held_out
from training.language_model.train import Run as LanguageModelRun

CODEC_MINUTES, LANGUAGE_MODEL_MINUTES = 25.0, 130.0
GUIDANCE = (1.0, 3.0)
HELD_OUT_CLIPS = 64


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=_first_line())
    add = parser.add_argument
    add("--folder", type=Path, required=True, help="for everything, outside the repository")
    add("--codec-minutes", type=float, default=CODEC_MINUTES, metavar="M")
    add("--language-model-minutes", type=float, default=LANGUAGE_MODEL_MINUTES, metavar="M")
    add("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    codec, language_model = options.folder / "codec", options.folder / "language-model"
    CodecRun(codec).train(options.codec_minutes)
    LanguageModelRun(language_model, codec).train(options.language_model_minutes)
    finish(options.folder, options.threads)


def finish(folder: Path, threads: int, plan: EvaluationPlan | None = None) -> Path:
    """Export the checkpoint of `folder`, measure it, write its card, and return its path."""
    codec, language_model = folder / "codec", folder / "language-model"
    checkpoint, music = folder / "checkpoint", folder / "held-out"
    shutil.rmtree(checkpoint, ignore_errors=True)
    export(codec, language_model, checkpoint)
    write_held_out(music, HELD_OUT_CLIPS)
    settings = Settings(model=str(checkpoint), threads=threads)
    evaluation = evaluate(settings, plan or EvaluationPlan(), GUIDANCE, music)
    figures = {
        "codec": codec_report(checkpoint, codec / "curve.jsonl"),
        "evaluation": evaluation.to_mapping(),
    }
    (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    write_card(checkpoint, codec, language_model, figures)
    return checkpoint


def _first_line() -> str:
    return (__doc__ or "").splitlines()[0]


if __name__ == "__main__":
    main()
