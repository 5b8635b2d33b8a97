"""Tests of texts with a code."""

from __future__ import annotations

import copy
import pickle

import pytest

from musicgen.errors.coded_text import CodedText
from musicgen.errors.sound_reasons import SoundReason
from musicgen.notes import ResultNote


@pytest.mark.parametrize(
    "text", [SoundReason("too_long", most=300), ResultNote("no_loudness", seconds=0.4)]
)
def test_copies_keep_class_code_and_values(text: CodedText) -> None:
    for twin in (copy.deepcopy(text), pickle.loads(pickle.dumps(text))):
        assert (twin, twin.code, twin.values) == (text, text.code, text.values)
        assert type(twin) is type(text)
