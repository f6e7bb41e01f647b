from __future__ import annotations

import json

import pytest

from engine.formats.models.base import CONFIGS
from engine.formats.models.z_image import Z_IMAGE


@pytest.mark.parametrize(
    ("metadata", "variant"),
    [
        ({}, "turbo"),
        ({"modelspec.title": "My merge"}, "turbo"),
        ({"modelspec.architecture": "z-image-turbo"}, "turbo"),
        ({"modelspec.title": "Z-Image-Turbo bf16"}, "turbo"),
        ({"modelspec.architecture": "z-image"}, "base"),
        ({"modelspec.title": "z_image_bf16"}, "base"),
    ],
)
def test_the_model_card_of_a_file_tells_the_variant(metadata, variant):
    assert Z_IMAGE.variant({}, metadata) == variant


def test_what_is_written_into_a_file_is_understood_again():
    for name, variant in Z_IMAGE.variants.items():
        assert Z_IMAGE.variant({}, {"modelspec.architecture": variant.architecture}) == name


def test_the_schedule_of_a_folder_tells_the_variant():
    for name, variant in Z_IMAGE.variants.items():
        config = json.loads((CONFIGS / variant.configs / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
        assert Z_IMAGE.folder_variant({"scheduler": config}) == name
