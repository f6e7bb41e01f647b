"""Words that stand for vectors: telling a model the vectors of known words is telling it those words, to the last bit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.families import load_model
from engine.generation.clip_pair import ClipPair
from engine.generation.conditioning import ClipConditioning
from engine.generation.embeddings import Embeddings, embeddings_for
from engine.model_facts import STARTER_FOLDER
from engine.tiny.pipeline import tiny_pipeline
from engine.workspace import Workspace

NAMES = {"sd1": ("",), "sdxl": ("clip_l", "clip_g")}
FILLER = "a " * 74


class Model:
    """The readers of a tiny base model."""

    def __init__(self, family: str) -> None:
        pipe, self.names = tiny_pipeline(family, family), NAMES[family]
        self.tokenizers, self.encoders = [pipe.tokenizer], [pipe.text_encoder]
        if family == "sdxl":
            self.tokenizers.append(pipe.tokenizer_2)
            self.encoders.append(pipe.text_encoder_2)
        self.widths = {name: encoder.config.hidden_size for name, encoder in zip(self.names, self.encoders, strict=True)}

    def reader(self, embeddings: Embeddings | None = None, **options: Any) -> ClipConditioning | ClipPair:
        if len(self.names) == 1:
            return ClipConditioning(*self.tokenizers, *self.encoders, embeddings=embeddings, **options)
        return ClipPair(self.tokenizers, self.encoders, embeddings=embeddings, **options)

    def tell(self, text: str, embeddings: Embeddings | None = None, **options: Any) -> dict[str, Tensor]:
        return self.reader(embeddings, **options).encode([text])[text]

    def vectors_of(self, words: str) -> dict[str, Tensor]:
        """What the encoders look these words up as."""
        found = {}
        for name, tokenizer, encoder in zip(self.names, self.tokenizers, self.encoders, strict=True):
            ids = tokenizer(words, add_special_tokens=False, return_tensors="pt").input_ids[0]
            found[name] = encoder.get_input_embeddings().weight[ids].detach().clone()
        return found

    def weights(self) -> dict[str, Tensor]:
        return {
            f"{i}.{name}": tensor.clone() for i, each in enumerate(self.encoders) for name, tensor in each.state_dict().items()
        }


@pytest.fixture(scope="module", params=list(NAMES))
def model(request) -> Model:
    return Model(request.param)


def write(folder: Path, word: str, vectors: dict[str, Tensor]) -> Path:
    file = folder / f"{word}.safetensors"
    save_file({name or "emb_params": tensor for name, tensor in vectors.items()}, file)
    return file


@pytest.fixture
def style(model: Model, tmp_path: Path) -> Embeddings:
    """`style` is a red cat, `style two` a blue chair."""
    told = {"style": "red cat", "style two": "blue chair"}
    return Embeddings(model.widths, {word: write(tmp_path, word, model.vectors_of(words)) for word, words in told.items()})


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a photo of style, today", "a photo of red cat, today"),
        ("STYLE", "red cat"),
        ("style style", "red cat red cat"),
        ("a (style:1.3) [style] b", "a (red cat:1.3) [red cat] b"),
        ("style two, style", "blue chair, red cat"),
        ("style  two", "blue chair"),
        ("a BREAK style BREAK b", "a BREAK red cat BREAK b"),
        (FILLER + "style and more", FILLER + "BREAK red cat and more"),
        (FILLER[2:] + "style and more", FILLER[2:] + "red cat and more"),
        ("a, " + "b " * 60 + ", c style " + "d " * 20, "a, " + "b " * 60 + ", c red cat " + "d " * 20),
        ("stylest mystyle", "stylest mystyle"),
    ],
)
def test_the_vectors_of_words_are_those_words(model, style, written, meant):
    assert same(model.tell(written, style), model.tell(meant))
    assert style.problems == []


def test_names_that_differ_by_a_space_are_two(model, tmp_path):
    told = {"red cat": "blue chair", "redcat": "green house"}
    found = Embeddings(model.widths, {word: write(tmp_path, word, model.vectors_of(words)) for word, words in told.items()})
    assert same(model.tell("redcat, red cat", found), model.tell("green house, blue chair"))


@pytest.mark.parametrize("emphasis", ["Original", "No norm", "Ignore"])
def test_every_emphasis_weighs_vectors_as_words(model, style, emphasis):
    assert same(model.tell("a (style:1.4)", style, emphasis=emphasis), model.tell("a (red cat:1.4)", emphasis=emphasis))


def test_without_emphasis_names_are_still_met(model, style):
    assert same(model.tell("style, (a:1.4)", style, emphasis="None"), model.tell("red cat, (a:1.4)", emphasis="None"))


def test_vectors_that_are_no_words_change_the_encoding_and_nothing_else(model, tmp_path):
    before = model.weights()
    plain = model.tell("a new word")
    found = Embeddings(model.widths, {"new": write(tmp_path, "new", {n: torch.ones(3, w) for n, w in model.widths.items()})})
    told = model.tell("a new word", found)
    assert told["text"].isfinite().all() and not torch.equal(told["text"], plain["text"])
    assert same(model.weights(), before)
    assert same(model.tell("a new word"), plain)


def test_an_error_on_the_way_leaves_the_encoder_as_it_was(model, style):
    reader = model.reader(style)
    clip = reader if isinstance(reader, ClipConditioning) else reader.clips[0]
    (chunk,) = clip.chunk("style")
    table = clip.text_encoder.get_input_embeddings()
    with pytest.raises(RuntimeError, match="stop"), clip.words.spoken(chunk.tokens) as tokens:
        assert len(table._forward_hooks) == 1 and tokens.max() < table.num_embeddings
        raise RuntimeError("stop")
    assert not table._forward_hooks


def test_what_was_used_is_told_once_with_its_hash(model, style):
    reader = model.reader(style)
    reader.encode(["a style", "style, style", "stylest, other"])
    assert [word for word, _ in style.used] == ["style"]
    assert all(len(digest) == 12 and set(digest) <= set("0123456789abcdef") for _, digest in style.used)


def test_one_of_another_base_stays_text_and_is_told(model, tmp_path):
    wrong = {"other": write(tmp_path, "other", {name: torch.ones(1, width + 1) for name, width in model.widths.items()})}
    (tmp_path / "broken.pt").write_bytes(b"PK")
    found = Embeddings(model.widths, {**wrong, "broken": tmp_path / "broken.pt"})
    reader = model.reader(found)
    told = reader.encode(["other broken other"])
    assert same(told["other broken other"], model.tell("other broken other"))
    assert [(each.code, each.values["name"]) for each in reader.problems] == [
        ("prompt.embedding_base", "other"), ("prompt.embedding_unreadable", "broken"),
    ]  # fmt: skip
    assert found.used == []


def test_an_embedding_for_one_encoder_is_not_half_applied_to_two():
    model = Model("sdxl")
    vectors = model.vectors_of("red cat")
    found = Embeddings(
        model.widths, {}, {"half": {"clip_l": vectors["clip_l"]}, "plain": {"string_to_param.*": vectors["clip_l"]}}
    )
    assert same(model.tell("half plain", found), model.tell("half plain"))
    assert [problem.code for problem in found.problems] == ["prompt.embedding_base"] * 2


def test_a_file_comes_before_what_a_lora_brings_if_it_fits(model, tmp_path):
    file = write(tmp_path, "style", model.vectors_of("red cat"))
    bundled = {"Style": {name or "string_to_param.*": each for name, each in model.vectors_of("blue chair").items()}}
    both = Embeddings(model.widths, {"style": file}, bundled)
    assert same(model.tell("style", both), model.tell("red cat"))
    wrong = write(tmp_path, "style", {name: torch.ones(1, width + 1) for name, width in model.widths.items()})
    other = Embeddings(model.widths, {"style": wrong}, bundled)
    assert same(model.tell("style", other), model.tell("blue chair"))
    assert other.problems == [] and other.used == []  # it is part of the LoRA, whose hash says all


def test_a_model_that_cannot_be_told_vectors_says_so_once():
    found = Embeddings({}, {}, {"Bad Hands": {"": torch.ones(1, 8)}})
    for text in ("(bad hands:1.2), x", "bad hands", "bad hands2, nobad hands"):
        found.report_unread(text)
    assert [(problem.code, problem.values["name"]) for problem in found.problems] == [("prompt.embedding_no_place", "Bad Hands")]


def test_a_model_finds_its_own_in_the_folders_and_in_loras(tmp_path):
    starter = load_model(STARTER_FOLDER, torch.device("cpu"), torch.float32)
    workspace = Workspace(tmp_path).prepare()
    table = starter.parts["text_encoder"].get_input_embeddings().weight
    ids = starter.tokenizers["text_encoder"]("red cat", add_special_tokens=False).input_ids
    write(workspace.embedding_folders[0], "mascot", {"": table[ids].detach().clone()})
    lora = SimpleNamespace(embeddings={"twin": {"string_to_param.*": table[ids].detach()}})
    found = embeddings_for(starter, workspace, [lora])
    told = starter.conditioning(1, embeddings=found).encode(["a mascot", "a twin", "a red cat"])
    assert same(told["a mascot"], told["a red cat"]) and same(told["a twin"], told["a red cat"])
    assert [word for word, _ in found.used] == ["mascot"]
