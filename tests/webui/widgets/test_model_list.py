"""The list of base models: everything that is known of each, and nothing a file could inject."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ModelError
from engine.library import STARTER, ModelCard
from webui.i18n import LANGUAGES, t
from webui.widgets.model_list import models_html

FILE = Path("models/x.safetensors")


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_known_is_told(language: str) -> None:
    card = ModelCard(
        "pony.safetensors",
        FILE,
        "sdxl",
        None,
        "SDXL v-prediction",
        6_938_061_718,
        "fp16",
        "a1b2c3d4e5f6" + "0" * 52,
        parts=("sdxl_vae.safetensors",),
    )
    html = models_html([card], language)
    for word in ("pony.safetensors", "SDXL v-prediction", "fp16", "6.9 GB", "a1b2c3d4e5", "sdxl_vae.safetensors"):
        assert word in html
    assert "a1b2c3d4e5f6" not in html and t("text.model.no_hash", language) not in html


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_not_known_yet_is_told_as_that(language: str) -> None:
    cards = [
        ModelCard("new.safetensors", FILE, "", size=5_000_000, unread=True),
        ModelCard("old.ckpt", FILE, "", size=5_000_000, pickled=True),
        ModelCard("whole.safetensors", FILE, "sd1", None, "Stable Diffusion 1.x", 5_000_000, "bf16"),
        ModelCard(STARTER, FILE, "sd1", None, "Stable Diffusion 1.x", 5_000_000, "fp16"),
    ]
    rows = models_html(cards, language).split("<li>")[1:]
    for row, key in zip(rows, ("unread", "pickled", "no_hash", "no_hash"), strict=True):
        assert t(f"text.model.{key}", language) in row
    assert t("text.lib.practice", language) in rows[3] and t("text.lib.practice", language) not in rows[2]
    assert t("text.model.no_hash", language) not in rows[0] + rows[1]


def test_problems_and_names_are_text() -> None:
    problem = ModelError("model.is_vae", "<b>x</b> is a VAE.", path="<b>x</b>", field="model.path")
    html = models_html([ModelCard("<script>{x}", FILE, "", problem, size=1)], "en")
    assert "<script>" not in html and "<b>" not in html and "{x}" not in html and 'class="bad"' in html
