"""What the page shows about an adapter file: read from its header alone, without torch.

Everything in the metadata was written by a stranger: it is shown as text, bounded in size, and believed only as a hint.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ModelError
from engine.formats.adapter_layout import BUNDLE, AdapterFormat, lay_out, rank_of
from engine.formats.cover import is_cover
from engine.formats.models import MODELS
from engine.formats.safetensors_header import Header, read_header
from engine.formats.suffixes import algorithm_of, split_keys

if TYPE_CHECKING:
    from engine.formats.adapter_file import AdapterFile

SHOWN_METADATA = 2**20
"""Bytes of one metadata value that are looked into; a longer tag list is not shown."""
SHOWN_TAGS = 24

TUCKER = frozenset({"lora_mid.weight", "hada_t1", "hada_t2", "lokr_t1", "lokr_t2", "bm.weight"})
"""Tensors of a convolution that is split into three factors."""
_CROSS_ATTENTION = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
_VERSIONS = {
    **{variant.base_version: family for family, model in MODELS.items() for variant in model.variants.values()},
    "sdxl_": "sdxl", "sd_v1": "sd1", "sd_v2": "sd2", "sd3": "sd3", "flux": "flux", "zimage": "z_image", "lumina": "lumina2",
}  # fmt: skip
"""How Kohya's and others' words for a base model begin."""
_ARCHITECTURES = {
    "stable-diffusion-xl": "sdxl",
    "stable-diffusion-v1": "sd1",
    "stable-diffusion-v2": "sd2",
    "stable-diffusion-3": "sd3",
    "flux": "flux",
    "z-image": "z_image",
    "lumina": "lumina2",
}
_ENCODER_MARK = re.compile(r"lora_te2_|text_encoder_2[._]")
_NAME_MARKS = (
    (r"double_blocks|single_blocks|single_transformer_blocks", "flux"),
    (r"joint_blocks", "sd3"),
    (r"(noise|context)_refiner|\blayers[._]\d+[._](attention|feed_forward)[._]|_layers_\d+_(attention|feed_forward)_", "z_image"),
)

_STARTS = (
    ("unet", re.compile(r"(lora|oft|lycoris)_unet_|(lora_)?transformer[._]|unet\.|diffusion_model\.|base_model\.")),
    ("text_encoder_3", re.compile(r"lora_te3_|text_encoder_3[._]")),
    ("text_encoder_2", re.compile(r"lora_te2_|text_encoder_2[._]")),
    ("text_encoder", re.compile(r"(lora|oft)_te1?_|(lycoris_)?text_encoder[._]")),
)
_CROSS_ATTENTION_KEY = re.compile(r"attn2[._]to_k$")
_JOINT_ATTENTION_KEY = re.compile(r"(?<!single_)transformer_blocks[._]\d+[._]attn[._](to_[qkv]|add_[qkv]_proj)$")
_FLUX_WIDTH = 3072
"""No SD3 is so wide."""


@dataclass(frozen=True)
class AdapterSummary:
    """Facts about an adapter file.

    Attributes:
        name: what a prompt calls it, the file name without its ending.
        output_name: the name given at training (`ss_output_name`), or "".
        algorithm: "lora", "loha", "lokr", "ia3", "oft", "boft", "glora", "hira", "full", "norm" or "mixed"; "dora" says separately
            whether a magnitude vector is there.
        ranks: the ranks that occur, ascending; empty for algorithms without one.
        modules: number of adapted modules by component: "unet" (or transformer), "text_encoder", "text_encoder_2",
            "text_encoder_3", "other".
        base: "sd1", "sd2", "sdxl", "sd3", "flux", "z_image", the file's own word for another, or "" when nothing tells.
        base_name: name of the checkpoint it was trained on, or "".
        trigger: trigger words as one text, or "".
        tags: most frequent training tags with their counts.
        pictures: number of training pictures, or None.
        resolution, created (ISO 8601), model_hash, description: as the file says, or "".
        size: bytes; mtime_ns: modification time in ns. With the path these two identify the content for caches.
        algorithms: those that occur, in order of the alphabet.
        tucker: some convolution is split into three factors.
        embeddings: names of the embeddings bundled with it.
        merged_from: what it was merged from, or "".
        cover: whether it carries a cover picture, see `engine.formats.cover`.
        clip_skip: the text encoder's layer it was trained with, counted from the end; None when nothing tells.
        prediction: "epsilon" or "v_prediction", what its base model predicts, or "".
    """

    path: Path
    name: str
    output_name: str
    format: AdapterFormat
    algorithm: str
    dora: bool
    ranks: tuple[int, ...]
    modules: dict[str, int]
    base: str
    base_name: str
    trigger: str
    tags: tuple[tuple[str, int], ...]
    pictures: int | None
    resolution: str
    created: str
    model_hash: str
    description: str
    size: int
    mtime_ns: int
    algorithms: tuple[str, ...] = ()
    tucker: bool = False
    embeddings: tuple[str, ...] = ()
    merged_from: str = ""
    cover: bool = False
    clip_skip: int | None = None
    prediction: str = ""


def describe(path: Path | str) -> AdapterSummary:
    """Summarise a `.safetensors` adapter.

    Raises:
        ModelError: the file is missing, truncated or not safetensors (codes `file.*`).
        AdapterError: those of `engine.formats.adapter_layout.lay_out`.
    """
    path = Path(path)
    header = read_header(path)
    status = path.stat()
    layout = lay_out(path, header.tensors)
    modules = {
        name: {suffix: header.tensors[key].shape for suffix, key in parts.items()} for name, parts in layout.modules.items()
    }
    algorithms = sorted({algorithm_of(shapes) or "" for shapes in modules.values()})
    text = {name: _whole(value) for name, value in header.metadata.items() if len(value) <= SHOWN_METADATA}
    tags = _tags(text.get("ss_tag_frequency", ""))
    return AdapterSummary(
        path=path,
        name=path.stem,
        output_name=_said(text, "ss_output_name", "modelspec.title"),
        format=layout.format,
        algorithm=algorithms[0] if len(algorithms) == 1 else "mixed",
        dora=any("dora_scale" in shapes for shapes in modules.values()),
        ranks=tuple(sorted({rank for shapes in modules.values() if (rank := rank_of(shapes)) is not None})),
        modules=dict(Counter(_component(module) for module in modules)),
        base=_base(text, modules),
        base_name=_said(text, "ss_sd_model_name"),
        trigger=_said(text, "modelspec.trigger_phrase"),
        tags=tuple(tags.most_common(SHOWN_TAGS)),
        pictures=_pictures(text.get("ss_dataset_dirs", "")),
        resolution=_resolution(text),
        created=_created(text),
        model_hash=_said(text, "sshs_model_hash"),
        description=_said(text, "modelspec.description", "ss_training_comment"),
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        algorithms=tuple(algorithms),
        tucker=any(not TUCKER.isdisjoint(shapes) for shapes in modules.values()),
        embeddings=tuple(layout.embeddings),
        merged_from=_said(text, "modelspec.merged_from"),
        cover=is_cover(cover) if (cover := text.get("modelspec.thumbnail", "")) else False,
        clip_skip=_clip_skip(text),
        prediction=_prediction(text),
    )


def unopened(path: Path) -> AdapterSummary:
    """What a list says of a pickled adapter: that it is there. To look into it takes PyTorch.

    Raises:
        ModelError: `file.missing`.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise ModelError(
            "file.missing", f"{path.name} cannot be opened: {error.strerror}.", todo="Check the path.", path=path
        ) from error
    return AdapterSummary(
        path=path, name=path.stem, output_name="", format="diffusers" if path.suffix.lower() == ".bin" else "kohya", algorithm="",
        dora=False, ranks=(), modules={}, base="", base_name="", trigger="", tags=(), pictures=None, resolution="", created="",
        model_hash="", description="", size=status.st_size, mtime_ns=status.st_mtime_ns,
    )  # fmt: skip


def family_of(file: AdapterFile) -> str:
    """Key of `MODELS`: the family that a file which has been read is for; "sd1" where nothing tells."""
    base = base_of(file)
    return base if base in MODELS else "sd1"


def base_of(file: AdapterFile) -> str:
    """The base model of a file that has been read, as `AdapterSummary.base`."""
    modules = {name: {suffix: tuple(tensor.shape) for suffix, tensor in parts.items()} for name, parts in file.modules.items()}
    return _base({name: value for name, value in file.metadata.items() if len(value) <= SHOWN_METADATA}, modules)


def is_adapter(header: Header) -> bool:
    """Whether every tensor of the file belongs to a known adapter algorithm."""
    known, unknown = split_keys([key for key in header.tensors if not key.startswith(BUNDLE)])
    return bool(known) and not unknown


def _whole(text: str) -> str:
    """Text without half characters, which JSON can spell and nothing can send."""
    return text.encode("utf-8", "replace").decode()


def _said(metadata: dict[str, str], *names: str) -> str:
    return next((metadata[name] for name in names if metadata.get(name, "None") not in ("", "None")), "")[:2000]


def _component(module: str) -> str:
    return next((component for component, start in _STARTS if start.match(module)), "other")


def _base(metadata: dict[str, str], modules: Mapping[str, Mapping[str, tuple[int, ...]]]) -> str:
    """Written statements first, then the widths of the cross-attention, then the names of the modules."""
    version, architecture = metadata.get("ss_base_model_version", ""), metadata.get("modelspec.architecture", "")
    for said, starts in ((version, _VERSIONS), (architecture, _ARCHITECTURES)):
        for start, family in starts.items():
            if said.startswith(start):
                return family
    if metadata.get("ss_v2") == "True":
        return "sd2"
    for name, shapes in modules.items():
        down = shapes.get("lora_down.weight", ())
        if _CROSS_ATTENTION_KEY.search(name) and len(down) == 2 and down[1] in _CROSS_ATTENTION:
            return _CROSS_ATTENTION[down[1]]
    for pattern, family in _NAME_MARKS:
        if re.search(pattern, "\n".join(modules)):
            return family
    for name, shapes in modules.items():
        down = shapes.get("lora_down.weight", ())
        if _JOINT_ATTENTION_KEY.search(name) and len(down) == 2:
            return "flux" if down[1] == _FLUX_WIDTH else "sd3"
    if any(map(_ENCODER_MARK.match, modules)):
        return "sdxl"
    return _said(metadata, "ss_base_model_version", "modelspec.architecture")[:100]


def _json_object(text: str) -> dict:
    try:
        content = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _tags(text: str) -> Counter[str]:
    """Training tags over all folders of the dataset."""
    total: Counter[str] = Counter()
    for folder in _json_object(text).values():
        for tag, count in folder.items() if isinstance(folder, dict) else ():
            if isinstance(count, int):
                total[_whole(tag).strip()] += count
    return total


def _pictures(text: str) -> int | None:
    counts = [folder.get("img_count") for folder in _json_object(text).values() if isinstance(folder, dict)]
    counts = [count for count in counts if isinstance(count, int)]
    return sum(counts) if counts else None


def _resolution(metadata: dict[str, str]) -> str:
    found = re.search(r"(\d{1,5})\D+(\d{1,5})", _said(metadata, "modelspec.resolution", "ss_resolution"))
    return f"{found[1]}x{found[2]}" if found else ""


def _clip_skip(metadata: dict[str, str]) -> int | None:
    """Kohya writes "None" where it left no layer out."""
    said = metadata.get("ss_clip_skip", "")
    if said == "None":
        return 1
    return int(said) if re.fullmatch(r"[1-9]\d?", said) else None


def _prediction(metadata: dict[str, str]) -> str:
    said = metadata.get("modelspec.prediction_type", "")
    if said in ("v", "v_prediction") or metadata.get("ss_v_parameterization") == "True":
        return "v_prediction"
    return "epsilon" if said == "epsilon" or metadata.get("ss_v_parameterization") == "False" else ""


def _created(metadata: dict[str, str]) -> str:
    if date := _said(metadata, "modelspec.date"):
        return date[:40]
    try:
        return datetime.fromtimestamp(float(metadata.get("ss_training_finished_at", "")), UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return ""
