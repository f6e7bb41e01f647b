"""What the page shows about an adapter file: read from its header alone, without torch.

Everything in the metadata was written by a stranger: it is shown as text, bounded in size, and believed only as a hint.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from engine.formats.adapter_file import AdapterFormat, check_keys, format_of
from engine.formats.safetensors_header import Header, TensorInfo, read_header
from engine.formats.suffixes import algorithm_of, split_keys

SHOWN_METADATA = 2**20
"""Bytes of one metadata value that are looked into; a longer tag list is not shown."""
SHOWN_TAGS = 24

_RANK_AXES = {"lora_down.weight": 0, "hada_w1_b": 0, "lokr_w1_b": 0, "lokr_w2_b": 0, "a2.weight": 0}
_CROSS_ATTENTION = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
_VERSIONS = {"sdxl_": "sdxl", "sd_v1": "sd1", "sd_v2": "sd2", "sd3": "sd3", "flux": "flux"}
_ARCHITECTURES = {
    "stable-diffusion-xl": "sdxl",
    "stable-diffusion-v1": "sd1",
    "stable-diffusion-v2": "sd2",
    "stable-diffusion-3": "sd3",
    "flux": "flux",
}
_NAME_MARKS = (
    (r"double_blocks|single_blocks|single_transformer_blocks", "flux"),
    (r"joint_blocks", "sd3"),
    (r"lora_te2_|text_encoder_2", "sdxl"),
)

_STARTS = (
    ("unet", re.compile(r"(lora|oft|lycoris)_unet_|unet\.|transformer\.|diffusion_model\.|base_model\.")),
    ("text_encoder_2", re.compile(r"lora_te2_|text_encoder_2[._]")),
    ("text_encoder", re.compile(r"(lora|oft)_te1?_|(lycoris_)?text_encoder[._]")),
)
_CROSS_ATTENTION_KEY = re.compile(r"attn2[._]to_k$")


@dataclass(frozen=True)
class AdapterSummary:
    """Facts about an adapter file.

    Attributes:
        name: what a prompt calls it, the file name without its ending.
        output_name: the name given at training (`ss_output_name`), or "".
        algorithm: "lora", "loha", "lokr", "ia3", "oft", "boft", "glora", "full", "norm" or "mixed"; "dora" says separately
            whether a magnitude vector is there.
        ranks: the ranks that occur, ascending; empty for algorithms without one.
        modules: number of adapted modules by component: "unet", "text_encoder", "text_encoder_2", "other".
        base: "sd1", "sd2", "sdxl", "sd3", "flux", the file's own word for another, or "" when nothing tells.
        base_name: name of the checkpoint it was trained on, or "".
        trigger: trigger words as one text, or "".
        tags: most frequent training tags with their counts.
        pictures: number of training pictures, or None.
        resolution, created (ISO 8601), model_hash, description: as the file says, or "".
        size: bytes; mtime_ns: modification time in ns. With the path these two identify the content for caches.
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


def describe(path: Path | str) -> AdapterSummary:
    """Summarise a `.safetensors` adapter.

    Raises:
        ModelError: the file is missing, truncated or not safetensors (codes `file.*`).
        AdapterError: `adapter.not_an_adapter`, `adapter.unknown_tensor`.
    """
    path = Path(path)
    header = read_header(path)
    status = path.stat()
    split, unknown = split_keys(list(header.tensors))
    check_keys(path, list(split), unknown)
    modules: dict[str, dict[str, TensorInfo]] = {}
    for key, (module, suffix, _) in split.items():
        modules.setdefault(module, {})[suffix] = header.tensors[key]
    text = {name: value for name, value in header.metadata.items() if len(value) <= SHOWN_METADATA}
    tags = _tags(text.get("ss_tag_frequency", ""))
    return AdapterSummary(
        path=path,
        name=path.stem,
        output_name=_said(text, "ss_output_name", "modelspec.title"),
        format=format_of(split.values()),
        algorithm=_algorithm(modules),
        dora=any("dora_scale" in parts for parts in modules.values()),
        ranks=_ranks(modules),
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
    )


def is_adapter(header: Header) -> bool:
    """Whether every tensor of the file belongs to a known adapter algorithm."""
    known, unknown = split_keys(list(header.tensors))
    return bool(known) and not unknown


def _said(metadata: dict[str, str], *names: str) -> str:
    return next((metadata[name] for name in names if metadata.get(name, "None") not in ("", "None")), "")[:2000]


def _algorithm(modules: dict[str, dict[str, TensorInfo]]) -> str:
    found = {algorithm_of({suffix: info.shape for suffix, info in parts.items()}) or "unknown" for parts in modules.values()}
    return found.pop() if len(found) == 1 else "mixed"


def _ranks(modules: dict[str, dict[str, TensorInfo]]) -> tuple[int, ...]:
    ranks = {
        parts[suffix].shape[axis]
        for parts in modules.values()
        for suffix, axis in _RANK_AXES.items()
        if suffix in parts and parts[suffix].shape
    }
    return tuple(sorted(ranks))


def _component(module: str) -> str:
    return next((component for component, start in _STARTS if start.match(module)), "other")


def _base(metadata: dict[str, str], modules: dict[str, dict[str, TensorInfo]]) -> str:
    """Written statements first, then the widths of the cross-attention, then the names of the modules."""
    version, architecture = metadata.get("ss_base_model_version", ""), metadata.get("modelspec.architecture", "")
    for said, starts in ((version, _VERSIONS), (architecture, _ARCHITECTURES)):
        for start, family in starts.items():
            if said.startswith(start):
                return family
    if metadata.get("ss_v2") == "True":
        return "sd2"
    for name, parts in modules.items():
        down = parts.get("lora_down.weight")
        if down and _CROSS_ATTENTION_KEY.search(name) and len(down.shape) == 2 and down.shape[1] in _CROSS_ATTENTION:
            return _CROSS_ATTENTION[down.shape[1]]
    for pattern, family in _NAME_MARKS:
        if re.search(pattern, "\n".join(modules)):
            return family
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
                total[tag.strip()] += count
    return total


def _pictures(text: str) -> int | None:
    counts = [folder.get("img_count") for folder in _json_object(text).values() if isinstance(folder, dict)]
    counts = [count for count in counts if isinstance(count, int)]
    return sum(counts) if counts else None


def _resolution(metadata: dict[str, str]) -> str:
    found = re.search(r"(\d{1,5})\D+(\d{1,5})", _said(metadata, "modelspec.resolution", "ss_resolution"))
    return f"{found[1]}x{found[2]}" if found else ""


def _created(metadata: dict[str, str]) -> str:
    if date := _said(metadata, "modelspec.date"):
        return date[:40]
    try:
        return datetime.fromtimestamp(float(metadata.get("ss_training_finished_at", "")), UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return ""
