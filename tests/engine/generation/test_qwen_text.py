from __future__ import annotations

import pytest
import torch
from transformers import Qwen3Config, Qwen3Model

from engine.generation.embeddings import Embeddings
from engine.generation.qwen_text import MAX_TOKENS, QwenConditioning, chat_tokens, encode_chat, pad_texts
from engine.tiny.tokenizers import qwen3


@pytest.fixture(scope="module")
def tokenizer():
    from engine.formats.models.base import CONFIGS
    from engine.formats.tokenizer_files import with_settings

    return with_settings(qwen3(), CONFIGS / "z_image" / "tokenizer")


@pytest.fixture(scope="module")
def encoder(tokenizer) -> Qwen3Model:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8,
    )  # fmt: skip
    return Qwen3Model(config).eval().requires_grad_(False)


@pytest.fixture
def conditioning(tokenizer, encoder) -> QwenConditioning:
    return QwenConditioning(tokenizer, encoder)


def test_a_text_is_the_message_of_a_chat_about_to_be_answered(tokenizer):
    tokens = chat_tokens("a red cat", tokenizer)
    assert tokenizer.decode(tokens) == "<|im_start|>user\na red cat<|im_end|>\n<|im_start|>assistant\n"
    assert tokens[0] == tokenizer.convert_tokens_to_ids("<|im_start|>")


def test_the_encoding_is_what_enters_the_last_layer(tokenizer, encoder):
    tokens = chat_tokens("a red cat", tokenizer)
    entered = []
    handle = encoder.layers[-1].register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    encoded = encode_chat(tokens, encoder)
    handle.remove()
    assert encoded.shape == (len(tokens), 16) and torch.equal(encoded, entered[0][0])


def test_texts_of_one_call_have_one_length_and_each_is_as_if_alone(conditioning):
    together = conditioning.encode(["a cat", "a photo of a red cat on a blue chair", ""])
    assert len({tuple(made["text"].shape) for made in together.values()}) == 1
    for text, made in together.items():
        (alone,) = conditioning.encode([text]).values()
        assert alone["mask"].all() and int(made["mask"].sum()) == alone["text"].shape[1]
        assert torch.equal(made["text"][made["mask"]], alone["text"][0])
        assert not made["text"][~made["mask"]].any()


def test_brackets_are_taken_out_and_said_to_have_no_effect(conditioning):
    plain = conditioning.encode(["a red cat on a chair"])["a red cat on a chair"]
    assert conditioning.problems == []
    weighted = conditioning.encode(["a (red:1.3) ((cat)) on [a chair]"])["a (red:1.3) ((cat)) on [a chair]"]
    assert torch.equal(weighted["text"], plain["text"])
    assert [problem.code for problem in conditioning.problems] == ["prompt.no_emphasis"]


def test_nothing_is_told_where_emphasis_is_not_wanted(tokenizer, encoder):
    text = "a (red:1.3) cat"
    ignored, literal = (QwenConditioning(tokenizer, encoder, emphasis) for emphasis in ("Ignore", "None"))
    assert torch.equal(ignored.encode([text])[text]["text"], ignored.encode(["a red cat"])["a red cat"]["text"])
    assert torch.equal(literal.encode([text])[text]["text"][0], encode_chat(chat_tokens(text, tokenizer), encoder))
    assert ignored.problems == literal.problems == []


def test_embeddings_are_words_and_that_is_told(tokenizer, encoder):
    told = QwenConditioning(tokenizer, encoder, embeddings=Embeddings({}, {}, {"red": {"": torch.ones(1, 8)}}))
    told.encode(["a red cat", "a red dog", "a scared cat"])
    assert [problem.code for problem in told.problems] == ["prompt.embedding_no_place"]


def test_escaped_brackets_are_brackets_and_break_is_a_space(conditioning, tokenizer):
    conditioning.encode([r"miku \(vocaloid\)", "a cat BREAK a chair"])
    assert conditioning.problems == []
    escaped = conditioning.encode([r"a \(cat\)"])[r"a \(cat\)"]["text"]
    assert escaped.shape[1] == len(chat_tokens("a (cat)", tokenizer))
    assert conditioning.encode(["a BREAK b"])["a BREAK b"]["text"].shape[1] == len(chat_tokens("a b", tokenizer))


def test_a_text_that_is_too_long_is_cut_and_said_so(conditioning):
    text = "cat " * 600
    assert conditioning.encode([text])[text]["text"].shape[1] == MAX_TOKENS
    (problem,) = conditioning.problems
    assert problem.code == "prompt.too_long" and problem.values["limit"] == MAX_TOKENS


def test_padding_keeps_order_and_gradients():
    texts = [torch.randn(3, 4, requires_grad=True), torch.randn(1, 4, requires_grad=True)]
    made = pad_texts(texts, 5)
    assert made["text"].shape == (2, 5, 4)
    assert made["mask"].tolist() == [[True] * 3 + [False] * 2, [True] + [False] * 4]
    made["text"].sum().backward()
    assert all(torch.equal(text.grad, torch.ones_like(text)) for text in texts)
