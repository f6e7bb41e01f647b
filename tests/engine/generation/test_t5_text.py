"""Prompts for T5: where weights fall, what is cut, what captions keep."""

from __future__ import annotations

import pytest
import torch

from engine.generation.t5_text import T5Text
from engine.tiny.pipeline import tiny_pipeline

LENGTH = 24


@pytest.fixture(scope="module")
def parts() -> tuple:
    pipeline = tiny_pipeline("flux", "flux_dev")
    return pipeline.tokenizer_2, pipeline.text_encoder_2


@pytest.fixture
def text(parts) -> T5Text:
    return T5Text(*parts, LENGTH)


@torch.no_grad()
def as_caption(text: T5Text, caption: str) -> torch.Tensor:
    return text.encode_captions([caption])


def test_a_plain_prompt_is_encoded_as_a_caption_is(text):
    assert torch.equal(text.encode("a red cat"), as_caption(text, "a red cat"))
    assert text.encode("").shape == (1, LENGTH, text.encoder.config.d_model)


def test_weights_fall_on_their_words_and_the_mean_stays(text):
    plain, weighted = text.encode("a red cat"), text.encode("a (red:1.5) cat")
    ratio = weighted / plain
    red = text.tokenizer("a red cat", add_special_tokens=False).tokens().index("▁red")
    restored = plain.mean() / (plain * torch.where(torch.arange(LENGTH) == red, 1.5, 1.0)[:, None]).mean()
    assert ratio[0, red].mean() == pytest.approx(1.5 * restored.item(), abs=1e-4)
    others = torch.cat([ratio[0, :red], ratio[0, red + 1 :]])
    torch.testing.assert_close(others, restored.expand_as(others), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(weighted.mean(), plain.mean())


def test_emphasis_may_be_off(parts):
    brackets = T5Text(*parts, LENGTH, "None").encode("a (red:1.5) cat")
    assert torch.equal(brackets, as_caption(T5Text(*parts, LENGTH), "a (red:1.5) cat"))
    ignored = T5Text(*parts, LENGTH, "Ignore").encode("a (red:1.5) cat")
    assert torch.equal(ignored, T5Text(*parts, LENGTH).encode("a red cat"))


def test_break_means_nothing(text):
    assert torch.equal(text.encode("a red BREAK cat"), text.encode("a red cat"))


def test_what_does_not_fit_is_cut_and_told(text):
    fits, longer = "cat " * (LENGTH - 1), "cat " * LENGTH
    kept = text.encode(fits)
    assert text.problems == []
    assert torch.equal(text.encode(longer), kept)
    (problem,) = text.problems
    assert (problem.code, problem.values["length"], problem.values["limit"]) == ("prompt.too_long", LENGTH, LENGTH - 1)
    assert torch.equal(as_caption(text, longer), kept)


def test_captions_of_any_length_make_one_batch_and_teach_the_encoder(text):
    captions = ["a red cat", "cat " * 40, ""]
    text.encoder.requires_grad_(True)
    encoded = text.encode_captions(captions)
    assert encoded.shape[:2] == (3, LENGTH)
    encoded.sum().backward()
    assert all(parameter.grad is not None for parameter in text.encoder.parameters())
    text.encoder.requires_grad_(False)
