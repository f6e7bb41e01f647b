from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from PIL import Image

from engine.datasets.buckets import assign, bucket_list
from engine.datasets.cache import LatentCache, LatentItem, TensorStore, TextCache
from engine.datasets.scan import scan
from engine.errors import DatasetError, Interrupted
from tests.support.pictures import make_photos, signpost

BUCKETS = bucket_list((64, 64), 32, 128, 16)


class Encoder:
    """A real, tiny encoder: pixels averaged over 8x8 squares. Remembers what it was given."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, ...]] = []

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        self.batches.append(tuple(pixels.shape))
        assert pixels.dtype == torch.float32 and not torch.is_grad_enabled()
        return torch.nn.functional.avg_pool2d(pixels, 8)


def nothing(done: int, total: int) -> None:
    pass


@pytest.fixture
def items(tmp_path) -> list[LatentItem]:
    make_photos(tmp_path / "set", 9, seed=2)
    fits = [(picture.path, assign(picture.size, BUCKETS)) for picture in scan(tmp_path / "set").pictures]
    return [LatentItem(path, fit.bucket, fit.resized) for path, fit in fits]


def test_each_picture_is_encoded_once_and_read_back_the_same(tmp_path, items):
    encoder, progress = Encoder(), []
    made = LatentCache(tmp_path / "cache", "vae").latents(items, encoder, lambda *numbers: progress.append(numbers))
    assert list(made) == items
    assert all(made[item].shape == (3, item.bucket[1] // 8, item.bucket[0] // 8) for item in items)
    assert progress == [(number, 9) for number in range(1, 10)]
    assert len(encoder.batches) == 9
    again = Encoder()
    read = LatentCache(tmp_path / "cache", "vae").latents(items, again, nothing)
    assert again.batches == []
    assert all(torch.equal(read[item], made[item]) for item in items)


def test_batches_hold_one_bucket_and_no_more_than_asked_for(tmp_path, items):
    encoder, progress = Encoder(), []
    batched = LatentCache(tmp_path / "a", "vae").latents(items, encoder, lambda *numbers: progress.append(numbers), batch_size=2)
    assert {shape[0] for shape in encoder.batches} == {1, 2}
    assert progress[-1] == (9, 9)
    single = LatentCache(tmp_path / "b", "vae").latents(items, Encoder(), nothing)
    assert all(torch.allclose(batched[item], single[item]) for item in items)


def test_an_entry_is_met_only_by_exactly_what_it_was_made_from(tmp_path, items):
    item, folder = items[0], tmp_path / "cache"
    LatentCache(folder, "vae").latents([item], Encoder(), nothing)

    def encoded(item: LatentItem, **options) -> int:
        encoder = Encoder()
        LatentCache(folder, **{"vae_key": "vae", **options}).latents([item], encoder, nothing)
        return len(encoder.batches)

    assert encoded(item) == 0
    other = (item.bucket[0] - 16, item.bucket[1])
    assert encoded(replace(item, flip=True)) == 1
    assert encoded(replace(item, bucket=other)) == 1
    assert encoded(replace(item, resized=(item.resized[0] + 1, item.resized[1] + 1))) == 1
    assert encoded(item, vae_key="another vae") == 1
    assert encoded(item, background=(0, 0, 0)) == 1
    copy = tmp_path / f"copy{item.path.suffix}"
    copy.write_bytes(item.path.read_bytes())
    assert encoded(replace(item, path=copy)) == 0
    signpost().save(item.path)
    assert encoded(item) == 1


def test_a_flipped_picture_is_mirrored(tmp_path, items):
    flipped = replace(items[0], flip=True)
    made = LatentCache(tmp_path / "cache", "vae").latents([items[0], flipped], Encoder(), nothing)
    assert torch.allclose(made[flipped], made[items[0]].flip(-1), atol=1e-5)


def test_a_damaged_entry_is_made_again(tmp_path, items):
    cache = LatentCache(tmp_path / "cache", "vae")
    made = cache.latents(items[:1], Encoder(), nothing)
    (file,) = (tmp_path / "cache").rglob("*.safetensors")
    whole = file.read_bytes()
    for damaged in (whole[:-5], whole[:4], b"", b"\xff" * 50):
        file.write_bytes(damaged)
        encoder = Encoder()
        read = LatentCache(tmp_path / "cache", "vae").latents(items[:1], encoder, nothing)
        assert len(encoder.batches) == 1
        assert torch.equal(read[items[0]], made[items[0]])
        assert file.read_bytes() == whole


def test_a_broken_picture_is_handed_over_and_the_others_are_made(tmp_path, items):
    items[3].path.write_bytes(items[3].path.read_bytes()[:200])
    skipped, progress = [], []
    cache = LatentCache(tmp_path / "cache", "vae")
    made = cache.latents(
        items,
        Encoder(),
        lambda *numbers: progress.append(numbers),
        on_skip=lambda item, error: skipped.append((item, error.code)),
    )
    assert skipped == [(items[3], "picture.unreadable")]
    assert list(made) == items[:3] + items[4:]
    assert progress[-1] == (9, 9)
    with pytest.raises(DatasetError, match=items[3].path.name):
        LatentCache(tmp_path / "other", "vae").latents(items, Encoder(), nothing)


def test_interrupted_work_is_taken_up_where_it_stopped(tmp_path, items):
    def stop(done: int, total: int) -> None:
        if done == 4:
            raise Interrupted("job.stopped", "Stopped.")

    with pytest.raises(Interrupted):
        LatentCache(tmp_path / "cache", "vae").latents(items, Encoder(), stop)
    encoder = Encoder()
    LatentCache(tmp_path / "cache", "vae").latents(items, encoder, nothing)
    assert len(encoder.batches) == 5


def test_an_encoder_that_loses_a_picture_is_caught(tmp_path, items):
    with pytest.raises(ValueError):
        LatentCache(tmp_path / "cache", "vae").latents(items[:1], lambda pixels: pixels[:0], nothing)


def test_what_encode_returns_is_kept_with_shape_and_type(tmp_path, items):
    made = LatentCache(tmp_path / "cache", "vae").latents(items[:1], lambda x: x.mean((2, 3)).to(torch.bfloat16), nothing)
    read = LatentCache(tmp_path / "cache", "vae").latents(items[:1], Encoder(), nothing)
    assert read[items[0]].dtype == torch.bfloat16 and read[items[0]].shape == (3,)
    assert torch.equal(read[items[0]], made[items[0]])


def test_two_runs_sharing_a_folder_never_meet_half_an_entry(tmp_path):
    value = {"latent": torch.arange(20_000, dtype=torch.float32)}
    failures, stop = [], threading.Event()

    def write() -> None:
        while not stop.is_set():
            TensorStore(tmp_path).put("abcdef", value)

    TensorStore(tmp_path).put("abcdef", value)
    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    for _ in range(100):
        entry = TensorStore(tmp_path).get("abcdef")
        if entry is None or not torch.equal(entry["latent"], value["latent"]):
            failures.append(entry)
    stop.set()
    for writer in writers:
        writer.join()
    assert failures == []
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["abcdef.safetensors"]


def test_captions_are_encoded_once_each_and_per_encoder(tmp_path):
    asked = []

    def encode(caption: str) -> dict[str, torch.Tensor]:
        asked.append(caption)
        hidden = torch.full((1, 4, 8), float(len(caption)))
        return {"hidden": hidden, "pooled": hidden[:, 0]}

    progress = []
    captions = ["mofumo, smile", "", "mofumo, smile", "笑顔"]
    made = TextCache(tmp_path, "clip").embeddings(captions, encode, lambda *numbers: progress.append(numbers))
    assert asked == ["mofumo, smile", "", "笑顔"]
    assert progress == [(1, 3), (2, 3), (3, 3)]
    read = TextCache(tmp_path, "clip").embeddings(captions, encode, nothing)
    assert len(asked) == 3
    assert all(torch.equal(read[c][name], made[c][name]) for c in made for name in ("hidden", "pooled"))
    TextCache(tmp_path, "clip, skip 2").embeddings(captions, encode, nothing)
    assert len(asked) == 6


def test_a_picture_edited_in_place_gives_its_new_latents(tmp_path):
    path = tmp_path / "a.png"
    item = LatentItem(path, (64, 64), (64, 64))
    cache = LatentCache(tmp_path / "cache", "vae")
    for colour in ((255, 255, 255), (0, 0, 0)):
        Image.new("RGB", (64, 64), colour).save(path)
        latents = cache.latents([item], Encoder(), nothing)
        assert torch.all(latents[item] == colour[0] / 127.5 - 1)
