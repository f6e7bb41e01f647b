"""Conditioning on a real CLIP text encoder, the starter's, with random weights."""

import pytest
import torch

from engine.errors import ConfigError
from engine.generation.conditioning import ClipConditioning, final_norm, weight_tokens
from engine.starter.architecture import make_text_encoder, make_tokenizer


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    tokenizer = make_tokenizer(["a red cat, on blue grass", "a small dog"])
    return tokenizer, make_text_encoder(tokenizer).eval()


@pytest.fixture(scope="module")
def conditioning(parts):
    return ClipConditioning(*parts)


def encoded(parts, text, **options):
    return ClipConditioning(*parts, **options).encode([text])[text]["text"]


def test_without_weights_it_is_the_encoder_output_exactly(parts, conditioning):
    tokenizer, encoder = parts
    for text in ("a red cat", ""):
        ids = tokenizer(text, padding="max_length", max_length=77, return_tensors="pt").input_ids
        with torch.no_grad():
            plain = encoder(ids).last_hidden_state
        assert torch.equal(conditioning.encode([text])[text]["text"], plain)


def test_two_chunks_are_the_encodings_of_each_side_by_side(conditioning):
    both = conditioning.encode(["a red cat BREAK a dog"])["a red cat BREAK a dog"]["text"]
    apart = {text: each["text"] for text, each in conditioning.encode(["a red cat", "a dog"]).items()}
    assert torch.equal(both, torch.cat([apart["a red cat"], apart["a dog"]], dim=1))
    assert both.shape == (1, 154, 128)


def test_shorter_texts_are_filled_with_empty_chunks(conditioning):
    long = "a cat " * 60
    encoded = {text: each["text"] for text, each in conditioning.encode(["a cat", long]).items()}
    assert encoded["a cat"].shape == encoded[long].shape == (1, 154, 128)
    assert torch.equal(encoded["a cat"][:, 77:], conditioning.encode([""])[""]["text"])


def test_an_encoding_does_not_depend_on_what_else_is_encoded(conditioning):
    alone = conditioning.encode(["a red cat"])["a red cat"]["text"]
    assert torch.equal(alone, conditioning.encode(["a dog", "a red cat", "grass"])["a red cat"]["text"])


def test_each_distinct_text_runs_through_the_encoder_once(parts):
    tokenizer, encoder = parts
    calls = []
    hook = encoder.register_forward_hook(lambda *_: calls.append(1))
    ClipConditioning(tokenizer, encoder).encode(["a cat", "a dog", "a cat", "a dog BREAK a cat"])
    hook.remove()
    assert len(calls) == 3  # a cat, a dog, and one empty chunk to fill up


@pytest.mark.parametrize("layer", [1, 2])
def test_clip_skip_is_a_hidden_state_from_the_end_under_the_final_norm(parts, conditioning, layer):
    encoder = parts[1]
    (chunk,) = conditioning.chunk("a red cat")
    with torch.no_grad():
        states = encoder(torch.tensor([chunk.tokens]), output_hidden_states=True).hidden_states
        expected = encoder.final_layer_norm(states[-layer])
    assert torch.equal(encoded(parts, "a red cat", clip_skip=layer), expected)
    assert final_norm(encoder) is encoder.final_layer_norm


@pytest.mark.parametrize("clip_skip", [0, 3])
def test_clip_skip_out_of_range_is_told(parts, clip_skip):
    with pytest.raises(ConfigError, match="from 1 to 2"):
        encoded(parts, "a", clip_skip=clip_skip)


def test_original_emphasis_keeps_the_mean_of_each_chunk(parts):
    text = "a (red:1.5) cat BREAK [a dog]"
    plain, weighted = (encoded(parts, text, emphasis=emphasis) for emphasis in ("Ignore", "Original"))
    for part in (slice(0, 77), slice(77, 154)):
        assert torch.allclose(weighted[:, part].mean(), plain[:, part].mean(), rtol=1e-4)
        assert not torch.allclose(weighted[:, part], plain[:, part], atol=1e-3)


def test_no_norm_multiplies_and_nothing_more(parts, conditioning):
    text = "a (red:1.5) cat"
    plain, weighted = (encoded(parts, text, emphasis=emphasis) for emphasis in ("Ignore", "No norm"))
    assert torch.equal(weighted, plain * torch.tensor(conditioning.chunk(text)[0].weights)[:, None])
    scale = (encoded(parts, text) / weighted).flatten()
    assert torch.allclose(scale, scale[0].expand_as(scale), rtol=1e-5)


def test_ignored_weights_leave_the_words(parts):
    assert torch.equal(encoded(parts, "a (red:1.5) [cat]", emphasis="Ignore"), encoded(parts, "a red cat"))


def test_without_emphasis_brackets_are_text(parts):
    tokens = ClipConditioning(*parts, emphasis="None").chunk("(red:1.5)")[0]
    assert set(tokens.weights) == {1.0}
    assert tokens.used > ClipConditioning(*parts).chunk("(red:1.5)")[0].used


def test_a_mean_of_zero_leaves_finite_numbers():
    encoded = torch.tensor([[[1.0], [-1.0]]])
    assert torch.isfinite(weight_tokens(encoded * 0, [1.5, 1.0])).all()


def test_half_precision_comes_back_in_half_precision():
    encoded = torch.randn(1, 77, 8, generator=torch.Generator().manual_seed(0)).half()
    assert weight_tokens(encoded, [1.2] * 77).dtype == torch.float16
