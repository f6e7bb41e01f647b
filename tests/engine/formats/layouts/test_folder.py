"""Names of tensors in the folders of diffusers models, new and old."""

from __future__ import annotations

from engine.formats.layouts.folder import FOLDER

BLOCK = "encoder.layers.0.mlp.fc1.weight"


def test_clip_is_written_with_its_level_and_read_with_and_without() -> None:
    keys = FOLDER["clip"]
    assert keys.places([BLOCK], {})[BLOCK].key == f"text_model.{BLOCK}"
    assert all(set(keys.find([stored], {})) == {BLOCK} for stored in (BLOCK, f"text_model.{BLOCK}"))


def test_old_names_of_the_attention_of_a_vae() -> None:
    old = [f"decoder.mid_block.attentions.0.{name}.weight" for name in ("query", "key", "value", "proj_attn", "group_norm")]
    found = FOLDER["vae"].find([*old, "decoder.conv_in.bias"], {})
    assert [key.rpartition("attentions.0.")[2] for key in found] == [
        "to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight", "group_norm.weight", "decoder.conv_in.bias",
    ]  # fmt: skip
    assert [place.key for place in found.values()] == [*old, "decoder.conv_in.bias"]


def test_qwen3_as_a_language_model() -> None:
    assert set(FOLDER["qwen3"].find(["model.norm.weight", "norm.bias"], {})) == {"norm.weight", "norm.bias"}


def test_the_embedding_of_t5_lies_there_once() -> None:
    places = FOLDER["t5"].places(["shared.weight", "encoder.embed_tokens.weight", "encoder.final_layer_norm.weight"], {})
    assert [place.key for place in places.values()] == ["shared.weight", "shared.weight", "encoder.final_layer_norm.weight"]
    assert set(FOLDER["t5"].find(["shared.weight"], {})) == {"shared.weight", "encoder.embed_tokens.weight"}
