"""Two encoders at once: long prompts, emphasis, the summary of the first chunk."""

from __future__ import annotations

import pytest
import torch

from engine.generation.clip_pair import ClipPair, encode_pair
from engine.tiny.pipeline import tiny_pipeline

LONG = "a photo of a red cat on a blue chair, " * 12


@pytest.fixture(scope="module")
def pair() -> ClipPair:
    pipe = tiny_pipeline("sdxl", "sdxl")
    return ClipPair([pipe.tokenizer, pipe.tokenizer_2], [pipe.text_encoder, pipe.text_encoder_2])


def test_each_encoder_is_asked_for_its_last_but_one_layer_in_its_own_padding(pair) -> None:
    chunks = [clip.chunk("a red cat")[0].tokens for clip in pair.clips]
    end, pad = pair.clips[1].tokenizer.eos_token_id, pair.clips[1].tokenizer.pad_token_id
    assert chunks[0][-1] == end and chunks[1][-1] == pad != end
    first, second = (
        encoder(torch.tensor([tokens]), output_hidden_states=True) for encoder, tokens in zip(pair.encoders, chunks, strict=True)
    )
    told = pair.encode(["a red cat"])["a red cat"]
    assert torch.equal(told["text"], torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1))
    assert torch.equal(told["pooled"], second.text_embeds)


def test_a_long_text_is_joined_chunks_and_the_summary_of_the_first(pair) -> None:
    told = pair.encode([LONG, "a red cat", ""])
    chunks = [clip.chunk(LONG) for clip in pair.clips]
    count = len(chunks[0])
    assert count > 1 and told[LONG]["text"].shape == (1, 77 * count, 96)
    windows = [encode_pair([torch.tensor([each.tokens]) for each in both], pair.encoders) for both in zip(*chunks, strict=True)]
    assert torch.equal(told[LONG]["text"], torch.cat([window["text"] for window in windows], 1))
    assert torch.equal(told[LONG]["pooled"], windows[0]["pooled"])
    # a shorter text beside it is the same text, with empty chunks behind it
    alone = pair.encode(["a red cat"])["a red cat"]
    assert torch.equal(told["a red cat"]["text"][:, :77], alone["text"])
    assert torch.equal(told["a red cat"]["pooled"], alone["pooled"])
    assert told["a red cat"]["text"].shape == told[LONG]["text"].shape == told[""]["text"].shape
    assert told["a red cat"]["text"][:, 77:].any() and not told[""]["text"].any() and not told[""]["pooled"].any()


def test_emphasis_keeps_each_encoders_own_mean_and_leaves_the_summary_alone(pair) -> None:
    plain, strong = "a red cat", "a (red:1.5) cat"
    told = pair.encode([plain, strong])
    assert torch.equal(told[plain]["pooled"], told[strong]["pooled"])
    widths = [encoder.config.hidden_size for encoder in pair.encoders]
    for one, two in zip(told[plain]["text"].split(widths, -1), told[strong]["text"].split(widths, -1), strict=True):
        assert (one - two).abs().max() > 0.01
        torch.testing.assert_close(one.mean(), two.mean())


def test_training_reaches_both_encoders(pair) -> None:
    tokens = [torch.tensor([clip.chunk("a red cat")[0].tokens]) for clip in pair.clips]
    layers = [encoder.get_submodule(path) for encoder, path in zip(pair.encoders, ("encoder.layers.0.mlp.fc1", "text_model.encoder.layers.0.mlp.fc1"), strict=True)]  # fmt: skip
    for layer in layers:
        layer.weight.requires_grad_(True)
    encoded = encode_pair(tokens, pair.encoders)
    (encoded["text"].pow(2).mean() + encoded["pooled"].pow(2).mean()).backward()
    assert all(layer.weight.grad is not None and layer.weight.grad.abs().sum() > 0 for layer in layers)
