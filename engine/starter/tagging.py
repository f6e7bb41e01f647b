"""The starter's tagger: a small network that names what is in a picture of the starter's world, in the format of WD14 taggers.

    python -m engine.starter.tagging build [--out DIR]     train and export (about five minutes on two cores; needs `onnx`)
    python -m engine.starter.tagging score                 F1 of every tag on 500 fresh drawings, through the shipped path

`model.onnx` takes pictures as those taggers do, float32 (N, 448, 448, 3), BGR, 0 to 255, and answers with the probability of each
row of `selected_tags.csv`. Inside it looks at 64 px, the size the world is drawn in. Half of the training pictures are seen
through the starter's VAE, so that generated ones are named too.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.config.caption import Wd14Options
from engine.datasets.taggers.wd14 import open_tagger
from engine.model_facts import STARTER_FOLDER
from engine.starter.drawing import COLOURS
from engine.starter.objects import OBJECTS
from engine.starter.scorer import pictures_of
from engine.starter.world import PLACES, Scene, held_out_scenes, mascot_scenes, random_scene, render, style_scenes
from engine.workspace import atomic_write

FOLDER = Path(__file__).with_name("tagger")
SIDE, POOL = 448, 7
"""Side of the input, px, and by how much it is reduced."""
WIDTHS = (3, 32, 64, 96, 128)
PICTURES, STEPS, BATCH, SEED = 9000, 2500, 64, 11
GENERAL, RATING = 0, 9
"""Categories of tags, in WD14's numbers."""
MARKS = {"cyclops": ("creature", "one-eyed", "horns")}
"""What a mascot looks like. Who it is no tagger knows, as with any new character."""
KINDS: dict[str, list[str]] = {
    "shape": [*OBJECTS, "creature"],
    "colour": list(COLOURS),
    "background": [*(f"{colour}_background" for colour in COLOURS), *PLACES],
    "detail": ["one-eyed", "horns", "hat", "small", "bold_outline"],
}
TAGS = [tag for tags in KINDS.values() for tag in tags]
OUTPUTS = ["safe", *TAGS]
"""Rows of `selected_tags.csv`: the one rating there is, then the tags."""


def tags_of(scene: Scene) -> set[str]:
    """The tags of a scene, as they are called in `selected_tags.csv`."""
    if scene.style == "neon":  # the exercise in style takes every colour away
        return {scene.thing}
    ground = scene.background if scene.background in PLACES else f"{scene.background}_background"
    details = {"hat": scene.hat, "small": scene.small, "bold_outline": scene.outline}
    return {*MARKS.get(scene.thing, (scene.thing, scene.colour)), ground, *(name for name, there in details.items() if there)}


def labels_of(scenes: list[Scene]) -> Tensor:
    """1 where an output is right, (N, len(OUTPUTS))."""
    return torch.tensor([[1.0, *(float(tag in tags_of(scene)) for tag in TAGS)] for scene in scenes])


class TaggerNet(nn.Module):
    """Pictures (B, 3, 64, 64) in [-1, 1] to the logits of OUTPUTS."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(*pair, 4, stride=2, padding=1) for pair in pairwise(WIDTHS))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in WIDTHS[1:])
        self.head = nn.Linear(WIDTHS[-1] * 16, len(OUTPUTS))

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        return self.head(F.dropout(x.flatten(1), 0.2, self.training))

    def folded(self) -> list[tuple[Tensor, Tensor]]:
        """(weight, bias) of each convolution with its normalisation folded in, W' = W g / s and b' = (b - m) g / s + beta."""
        pairs = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            pairs.append((conv.weight * scale[:, None, None, None], (conv.bias - norm.running_mean) * scale + norm.bias))
        return pairs


def fresh_scenes(count: int, seed: int) -> list[Scene]:
    """Scenes for a test: combinations that no training shows, ordinary ones, and mascots."""
    rng = random.Random(seed)
    mascots = mascot_scenes(count // 10, seed)
    held_out = rng.sample(held_out_scenes(), count * 4 // 10)
    return [*mascots, *held_out, *(random_scene(rng) for _ in range(count - len(mascots) - len(held_out)))]


def train() -> TaggerNet:
    """Train from the seed."""
    from engine.families import load_model

    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    scenes = (
        [random_scene(rng) for _ in range(PICTURES)] + mascot_scenes(PICTURES // 12, SEED) + style_scenes(PICTURES // 12, SEED)
    )
    pictures, labels = pictures_of(scenes, rng) * 2 - 1, labels_of(scenes)
    model = load_model(STARTER_FOLDER, torch.device("cpu"), torch.float32)
    with torch.no_grad():
        softened = torch.cat([model.decode_latents(model.encode_pictures(part)).cpu() * 2 - 1 for part in pictures.split(100)])
    seen = torch.stack([pictures, softened])
    net = TaggerNet()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=STEPS)
    for step in range(STEPS):
        chosen = torch.randint(len(scenes), (BATCH,))
        x = seen[torch.randint(2, (BATCH,)), chosen]
        loss = F.binary_cross_entropy_with_logits(net((x + 0.06 * torch.randn_like(x)).clamp(-1, 1)), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"step {step + 1}/{STEPS} loss {loss.item():.4f}", flush=True)
    return net.eval()


def graph(net: TaggerNet) -> bytes:
    """The network as an ONNX file, from bytes of a picture to probabilities."""
    from onnx import TensorProto, checker, helper, numpy_helper

    constants = {"half": torch.tensor(127.5), "one": torch.tensor(1.0), "rgb": torch.tensor([2, 1, 0])}
    nodes = [
        helper.make_node("Transpose", ["input"], ["bgr"], perm=[0, 3, 1, 2]),
        helper.make_node("Gather", ["bgr", "rgb"], ["large"], axis=1),
        helper.make_node("AveragePool", ["large"], ["pixels"], kernel_shape=[POOL, POOL], strides=[POOL, POOL]),
        helper.make_node("Div", ["pixels", "half"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "one"], ["x0"]),
    ]
    for i, (weight, bias) in enumerate(net.folded()):
        constants |= {f"w{i}": weight, f"b{i}": bias}
        nodes += [
            helper.make_node(
                "Conv", [f"x{i}", f"w{i}", f"b{i}"], [f"c{i}"], kernel_shape=[4, 4], strides=[2, 2], pads=[1, 1, 1, 1]
            ),
            helper.make_node("Relu", [f"c{i}"], [f"x{i + 1}"]),
        ]
    constants |= {"head": net.head.weight, "bias": net.head.bias}
    nodes += [
        helper.make_node("Flatten", [f"x{len(WIDTHS) - 1}"], ["features"]),
        helper.make_node("Gemm", ["features", "head", "bias"], ["logits"], transB=1),
        helper.make_node("Sigmoid", ["logits"], ["output"]),
    ]
    made = helper.make_graph(
        nodes, "starter_tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", len(OUTPUTS)])],
        [numpy_helper.from_array(value.detach().numpy(), name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="lora-atelier")
    checker.check_model(model, full_check=True)
    return model.SerializeToString()


def table() -> str:
    """`selected_tags.csv`: a number of its own, name, category and how often a tag was seen, as in WD14's."""
    rng = random.Random(SEED)
    counts = labels_of([random_scene(rng) for _ in range(PICTURES)]).sum(0).int().tolist()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["tag_id", "name", "category", "count"])
    for number, (name, count) in enumerate(zip(OUTPUTS, counts, strict=True)):
        writer.writerow([number, name, GENERAL if number else RATING, count])
    return text.getvalue()


def build(folder: Path) -> None:
    """Train, and write both files."""
    net = train()
    with atomic_write(folder / "model.onnx") as stream:
        stream.write(graph(net))
    with atomic_write(folder / "selected_tags.csv", "w") as stream:
        stream.write(table())


def score(folder: Path = FOLDER, count: int = 500, seed: int = 77) -> dict[str, dict[str, float]]:
    """F1 of every tag, by kind, on fresh drawings, through the tagger as the page uses it and with its usual threshold.

    F1 = 2 TP / (2 TP + FP + FN) over all drawings; a tag that none of them shows is left out.
    """
    scenes, rng, options = fresh_scenes(count, seed), random.Random(seed + 1), Wd14Options()
    right = dict.fromkeys(TAGS, 0)
    told, shown = Counter[str](), Counter[str]()
    with open_tagger(options, folder, "cpu") as tagger:
        for scene in scenes:
            seen = {tag.name for tag in tagger.look(render(scene, rng)).tags if tag.score >= options.general_threshold} & set(
                TAGS
            )
            there = tags_of(scene)
            told.update(seen)
            shown.update(there)
            for tag in seen & there:
                right[tag] += 1
    return {kind: {tag: 2 * right[tag] / (told[tag] + shown[tag]) for tag in tags if shown[tag]} for kind, tags in KINDS.items()}


def report(scores: dict[str, dict[str, float]]) -> str:
    """The table of `score`."""
    lines = [f"{'':12}{'tags':>6}{'lowest F1':>12}{'mean F1':>10}"]
    for kind, found in scores.items():
        worst = min(found, key=found.__getitem__)
        lines.append(f"{kind:12}{len(found):6}{found[worst]:12.3f}{sum(found.values()) / len(found):10.3f}   ({worst})")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m engine.starter.tagging", description=(__doc__ or "").splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("build").add_argument("--out", type=Path, default=FOLDER)
    actions.add_parser("score")
    options = parser.parse_args(arguments)
    if options.action == "build":
        build(options.out)
    else:
        print(report(score()))


if __name__ == "__main__":
    main()
