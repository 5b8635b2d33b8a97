"""What the demo's decoder is trained on: the delay pattern, and prompts that may be missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen.model.delay_pattern import DelayPattern
from musicgen.model.encodec import Codec
from musicgen.model.tokenizer import load_tokenizer
from training.codec.train import CONFIG
from training.language_model import text, train
from training.language_model.model import START_TOKEN, logits, make_model
from training.language_model.tokenizer import pieces, write_tokenizer
from training.language_model.train import Run
from training.music.piece import random_piece
from training.music.words import describe

UNIFORM_NATS = float(np.log(CONFIG.codebook_size))


@contextmanager
def _small_held_out() -> Iterator[pytest.MonkeyPatch]:
    """Measure on four clips of two seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "HELD_OUT_CLIPS", 4)
        patch.setattr(train, "FRAMES", 100)
        yield patch


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run at its beginning, on a codec that has not been trained."""
    folder = tmp_path_factory.mktemp("training")
    codec = Codec(CONFIG)
    for parameter in codec.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    torch.save({"codec": codec.state_dict()}, folder / "codec.pt")
    with _small_held_out() as patch:
        patch.setattr(text, "STEPS", 2)
        made = Run(folder / "language-model", folder)
    # An untrained codec uses few of its codes, which is easier to guess than all of them.
    shape = made.held_out.codes.shape
    made.held_out = replace(made.held_out, codes=torch.randint(CONFIG.codebook_size, shape))
    return made


def test_every_description_is_made_of_whole_words(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    tokenize = load_tokenizer(tmp_path)
    rng = np.random.default_rng(1)
    known = dict(enumerate(piece for piece, _ in pieces()))
    for _ in range(200):
        text = describe(random_piece(rng), rng)
        tokens = [known[token] for token in tokenize(text)]
        assert tokens == ["\u2581" + word for word in text.split()] + ["</s>"]


def test_words_that_are_not_known_have_tokens_too(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    tokens = load_tokenizer(tmp_path)("grungy zydeco, 1987!")
    assert len(tokens) > 10 and max(tokens) < len(pieces())


def test_a_model_that_knows_nothing_is_as_good_as_a_guess(run: Run) -> None:
    for nll in run.measure().values():
        assert nll == pytest.approx([UNIFORM_NATS] * CONFIG.codebooks, abs=0.25)


def test_the_text_encoder_learns_what_every_word_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """By chance it would be right for two attributes in five."""
    monkeypatch.setattr(text, "STEPS", 60)
    encoder = make_model().text_encoder
    assert text.teach(encoder, seed=1) > 0.75
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_a_note_s_beginning_weighs_more(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every codebook, whose frames are delayed by its number."""
    steps = 40 + CONFIG.codebooks - 1
    frame = torch.arange(steps) - torch.arange(CONFIG.codebooks)[:, None]
    valid = ((frame >= 0) & (frame < 40)).float()
    beginning = ((frame + 1) % train.BEGINNING_EVERY < train.BEGINNING_FRAMES).float() * valid
    codes = torch.zeros(1, CONFIG.codebooks, 40)

    def weighted(losses: torch.Tensor) -> float:
        monkeypatch.setattr(run, "_losses", lambda *_: (losses[None], valid))
        return float(run._weigh_loss(torch.empty(0), codes))

    shares = weighted(beginning), weighted(valid - beginning)
    counts = beginning.sum() * train.BEGINNING_WEIGHT, (valid - beginning).sum()
    assert shares[0] / shares[1] == pytest.approx(float(counts[0] / counts[1]), rel=1e-4)
    assert weighted(valid) == pytest.approx(1)


@torch.no_grad()
def test_guided_by_one_is_the_plain_prediction_and_by_none_the_unprompted(run: Run) -> None:
    codes, prompts = run.held_out.codes[:2, :, :20], ["fast piano", "slow bells"]
    run.model.eval()
    prompted, unprompted = (run._predict(each, codes) for each in (prompts, ["", ""]))
    assert (prompted - unprompted).abs().max() > 1e-2
    for scale, expected in ((1.0, prompted), (0.0, unprompted)):
        plain, guided = run._guide(prompts, codes, scale)
        torch.testing.assert_close(guided, expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(plain, unprompted, atol=1e-4, rtol=0)
    run.model.train()


@torch.no_grad()
def test_without_a_prompt_no_word_reaches_the_decoder() -> None:
    """Guidance compares with exactly this."""
    model = make_model().eval()
    pattern = DelayPattern(CONFIG.codebooks, 1, START_TOKEN)
    codes = torch.randint(CONFIG.codebook_size, (1, CONFIG.codebooks, 6))
    sequence = torch.from_numpy(pattern.build_template(6, codes[0].numpy()))[None]
    one, other = torch.tensor([[5, 6, 1]]), torch.tensor([[9, 3, 1]])
    absent, present = torch.zeros_like(one), torch.ones_like(one)
    assert torch.equal(logits(model, one, absent, sequence), logits(model, other, absent, sequence))
    assert not torch.equal(
        logits(model, one, present, sequence), logits(model, other, present, sequence)
    )


@pytest.mark.parametrize(("share", "times"), [(0.0, 0), (0.74, 0), (train.GUIDED_FROM, 1)])
def test_the_last_part_fits_the_guided_prediction(
    run: Run, monkeypatch: pytest.MonkeyPatch, share: float, times: int
) -> None:
    guided, seen = run._guide, []

    def watched(prompts: list[str], codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(prompts)
        return guided(prompts, codes)

    monkeypatch.setattr(run, "_guide", watched)
    run.learn((["fast piano", ""], run.held_out.codes[:2, :, :20]), share)
    assert seen == [["fast piano", ""]] * times


@pytest.mark.parametrize("share", [0.0, train.GUIDED_FROM])
def test_a_run_goes_on_where_it_stopped(run: Run, tmp_path: Path, share: float) -> None:
    before, started = run.measure()["own prompt"], run.step
    codes = run.held_out.codes[:4, :, :20]
    for _ in range(3):
        run.learn((["fast piano"] * 4, codes), share=share)
        run.step += 1
    after = run.measure()["own prompt"]
    assert after != before
    run.save()
    with _small_held_out():
        again = Run(run.folder, run.folder.parent)
    again.held_out = run.held_out
    assert again.step == run.step == started + 3
    assert again.measure()["own prompt"] == pytest.approx(after, abs=1e-6)
