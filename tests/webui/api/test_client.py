"""The published client of AUTOMATIC1111's interface against the whole program, on the starter."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image, ImageChops

from engine.formats.infotext import parse_infotext
from tests.ui.conftest import Server, start

webuiapi = pytest.importorskip("webuiapi")
SIZE: dict[str, Any] = {"width": 64, "height": 64, "steps": 4, "cfg_scale": 4}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(tmp_path_factory.mktemp("api") / "data", "--api", "--auth", "owner:secret")
    yield running
    if running.process.poll() is None:
        running.interrupt()


@pytest.fixture(scope="module")
def api(server: Server) -> Any:
    return webuiapi.WebUIApi(baseurl=f"{server.url}/sdapi/v1", username="owner", password="secret")


def test_txt2img_and_img2img(api: Any, server: Server) -> None:
    first = api.txt2img(prompt="a red circle", seed=5, batch_size=2, **SIZE)
    assert [image.size for image in first.images] == [(64, 64)] * 2
    assert first.info["all_seeds"] == [5, 6] and first.parameters["prompt"] == "a red circle"
    prompt, _, parameters = parse_infotext(first.image.info["parameters"])
    assert (prompt, parameters["Seed"], parameters["Sampler"]) == ("a red circle", "5", "Euler a")
    again = api.txt2img(prompt="a red circle", seed=6, **SIZE)
    assert difference(again.image, first.images[1]) * 20 < difference(again.image, first.images[0]), "the seed makes the picture"
    near = api.img2img([first.image], prompt="a red circle", denoising_strength=0.1, seed=7, **SIZE).image
    far = api.img2img([first.image], prompt="a red circle", denoising_strength=1.0, seed=7, **SIZE).image
    assert difference(near, first.image) < difference(far, first.image)
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    half = api.img2img(
        [first.image], mask_image=mask, mask_blur=0, inpainting_fill=1, denoising_strength=1.0, seed=7, **SIZE
    ).image
    right = (32, 0, 64, 64)
    assert half.crop(right).tobytes() == first.image.crop(right).tobytes() and half.tobytes() != first.image.tobytes()
    assert not list((server.data / "outputs").rglob("*.png")), "pictures are saved only where that is asked for"


def difference(one: Image.Image, other: Image.Image) -> int:
    return sum(ImageChops.difference(one, other).tobytes())


def test_interrupt_keeps_what_is_done(api: Any) -> None:
    with ThreadPoolExecutor() as pool:
        asked: Future = pool.submit(api.txt2img, prompt="a red circle", n_iter=100, **{**SIZE, "steps": 20})
        while not (told := api.get_progress())["progress"]:
            assert not asked.done(), asked.result()
            time.sleep(0.05)
        assert told["state"]["job_count"] == 100
        begun = time.monotonic()
        api.interrupt()
        result = asked.result(30)
    assert time.monotonic() - begun < 10 and len(result.images) == len(result.info["all_seeds"]) < 100
    api.util_wait_for_ready(0.05)


def test_everything_else_the_client_asks_for(api: Any) -> None:
    """Calls of their own interface that a client makes when it connects, or to fill its lists."""
    names = [
        "options", "cmd_flags", "samplers", "sd_vae", "upscalers", "latent_upscale_modes", "loras", "sd_models", "hypernetworks",
        "face_restorers", "realesrgan_models", "prompt_styles", "scripts", "embeddings", "memory", "schedulers",
    ]  # fmt: skip
    told = {name: getattr(api, f"get_{name}")() for name in names}
    assert json.dumps(told) and all("detail" not in each for each in told.values())
    api.util_set_model("starter")
    assert api.util_get_current_model() in api.util_get_model_names()
    assert api.refresh_checkpoints() is None and api.skip() is None
    picture = Image.new("RGB", (8, 8))
    picture.info["parameters"] = "p\nSteps: 1, Sampler: Euler, Seed: 3"
    assert api.png_info(picture).info == picture.info["parameters"]


def test_a_wrong_password_and_an_end_in_the_midst_of_it(server: Server, api: Any) -> None:
    stranger = webuiapi.WebUIApi(baseurl=f"{server.url}/sdapi/v1", username="owner", password="guess")
    with pytest.raises(RuntimeError, match="401"):
        stranger.txt2img()
    problems: list[RuntimeError] = []

    def ask() -> None:
        with pytest.raises(RuntimeError) as ended:
            api.txt2img(prompt="a red circle", n_iter=100, **{**SIZE, "steps": 20})
        problems.append(ended.value)

    waiting = threading.Thread(target=ask)
    waiting.start()
    while not api.get_progress()["progress"]:
        time.sleep(0.05)
    code, seconds = server.interrupt()
    waiting.join(10)
    assert code == 130 and seconds < 15 and problems[0].args[0] == 503
