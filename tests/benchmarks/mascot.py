"""Every algorithm learns the practice mascot: how long, how large, how well. The table of `docs/adapters.md`.

All runs have the preset's pictures, batch, length and seed. Rates and options are each algorithm's own, the best of a few tries
on the starter; its rates are about ten times those of a large model.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.config.load import load, merge, nested, preset_path
from engine.config.train import TrainConfig
from engine.formats.module_facts import module_facts
from engine.starter.score import LoraScore, load_starter, score_lora
from engine.starter.scorer import Scorer, load_scorer
from engine.training.events import Started, Step
from engine.training.trainer import Trainer
from engine.workspace import Workspace, atomic_write
from tests.benchmarks.report import Row

LORA = {"kind": "lora", "rank": 8, "alpha": 8, "conv_rank": 8}
RATE = 2e-3


def of(kind: str, rate: float = RATE, **options: Any) -> dict[str, Any]:
    """Settings of a run: an algorithm at rank 8, convolutions too, where it has such a thing, and its learning rate."""
    return {"adapter": {"kind": kind, **options}, "training.learning_rate": rate}


def lora(rate: float = RATE, **options: Any) -> dict[str, Any]:
    return of(rate=rate, **(LORA | options))


def ranked(kind: str, rate: float = RATE, **options: Any) -> dict[str, Any]:
    return of(rate=rate, **(LORA | {"kind": kind} | options))


EVERYWHERE = {"targets": "full", "rules": ["unet.conv_out: off"]}
"""All layers, for algorithms without a rank of their own for convolutions; the last has too few outputs for some."""
VARIANTS: dict[str, dict[str, Any]] = {
    "LoRA-LierLa": lora(conv_rank=0),
    "LoRA-C3Lier (LoCon)": lora(),
    "LoCon, Tucker": lora(tucker=True),
    "rsLoRA": lora(scaling="root", rate=1e-3),
    "LoRA+": {**lora(rate=5e-4), "training.lora_plus": 8},
    "LoRA-FA": lora(freeze_down=True, rate=8e-3),
    "DoRA": lora(decompose="outputs"),
    "orthogonal": lora(initial="orthogonal"),
    "PiSSA": lora(initial="pissa", rate=1e-3),
    "OLoRA": lora(initial="olora", rate=1e-3),
    "DyLoRA": ranked("dylora", unit=2),
    "AdaLoRA": ranked("adalora", rank=12, alpha=12, conv_rank=12),
    "ARD-LoRA": ranked("ard_lora"),
    "ARD-LoRA, sparsity 0.05": ranked("ard_lora", sparsity=0.05),
    "T-LoRA": ranked("tlora", min_rank=4),
    "VeRA": of("vera", 4e-2, rank=64, alpha=64, conv_rank=64),
    "MiSS": of("miss", rank=8, alpha=8, **EVERYWHERE),
    "DeLoRA": ranked("delora", strength=5),
    "HiRA": ranked("hira", 2e-2),
    "LoHa": ranked("loha"),
    "LoKr": ranked("lokr", 8e-3, factor=4),
    "(IA)3": of("ia3", 5e-2, **EVERYWHERE),
    "OFT": of("oft", **EVERYWHERE),
    "COFT": of("oft", constraint=1e-2, **EVERYWHERE),
    "BOFT": of("boft", **EVERYWHERE),
    "GLoRA": of("glora", rank=8, alpha=8, **EVERYWHERE),
    "full": of("full", 5e-4, **EVERYWHERE),
    "LoRA-C3Lier, norm layers too": lora(train_norms=True),
    "LoRA rank 2": lora(rank=2, alpha=2, conv_rank=2),
    "LoRA rank 4": lora(rank=4, alpha=4, conv_rank=4),
    "LoRA rank 16": lora(rank=16, alpha=16, conv_rank=16),
}
HEADER = (
    f"{'':30}{'steps':>6}{'a step':>8}{'trained':>10}{'file':>9}{'ranks':>12}{'loss':>7}{'likeness':>17}{'apart':>7}{'places':>8}"
)


@dataclass(frozen=True)
class Learnt:
    """What came of one run.

    Attributes:
        seconds: that a step takes, the median.
        parameters: that learn.
        size: of the file, bytes.
        ranks: lowest, mean and highest of its layers, empty for algorithms without.
    """

    name: str
    steps: int
    seconds: float
    parameters: int
    size: int
    ranks: tuple[float, ...]
    score: LoraScore

    @property
    def apart(self) -> float:
        """How much more the picture is like the mascot with the adapter than without: the separation score."""
        return self.score.likeness[2] - self.score.likeness[0]


def measure(options: argparse.Namespace, folder: Path) -> list[Row]:
    """Train and score what `options.json` does not hold yet, and print all that is known; there are no goals."""
    known = read(options.json) if options.json and options.json.exists() else {}
    model = load_starter()
    scorer = load_scorer(model, folder / "cache")
    print(HEADER, flush=True)
    for name, settings in VARIANTS.items():
        if options.only and name not in options.only:
            continue
        if name not in known or known[name].steps != (options.steps or known[name].steps):
            known[name] = learn(name, settings, options.steps, folder, model, scorer)
            if options.json:
                save(options.json, known)
        print(line(known[name]), flush=True)
    return []


def learn(name: str, settings: dict[str, Any], steps: int, folder: Path, model: Any, scorer: Scorer) -> Learnt:
    """One run through the engine, and the score of its file."""
    workspace = Workspace(folder / "workspace").prepare()
    file_name = "-".join(re.findall(r"\w+", name))
    plain = {
        "output.name": file_name,
        "samples.count": 0,
        "output.save_count": 1,
        **({"training.max_steps": steps} if steps else {}),
    }
    over = nested({**settings, **plain})
    preset = load(TrainConfig, preset_path("starter/character")).model_dump()
    config = TrainConfig.model_validate(merge({**preset, "adapter": {}}, over))
    trainer = Trainer(config, workspace.runs / file_name, workspace)
    events = list(trainer.run())
    file = workspace.loras / f"{file_name}.safetensors"
    (started,) = (event for event in events if isinstance(event, Started))
    taken = [event.seconds for event in events if isinstance(event, Step)]
    ranks = [facts.rank for facts in module_facts(file).values() if facts.rank]
    spread = (min(ranks), sum(ranks) / len(ranks), max(ranks)) if ranks else ()
    return Learnt(
        name,
        len(taken),
        statistics.median(taken),
        sum(started.parameters.values()),
        file.stat().st_size,
        spread,
        score_lora(model, scorer, file),
    )


def line(learnt: Learnt) -> str:
    """One row of the table."""
    low, mean, high = learnt.ranks or (0, 0, 0)
    ranks = "-" if not learnt.ranks else f"{mean:.0f}" if low == high else f"{low:.0f}-{high:.0f} ({mean:.1f})"
    likeness = " ".join(f"{value:.3f}" for value in learnt.score.likeness)
    return (
        f"{learnt.name:30}{learnt.steps:6}{learnt.seconds * 1000:5.0f} ms{learnt.parameters / 1000:9.0f}k{learnt.size / 1e6:6.2f} MB"
        f"{ranks:>12}{learnt.score.ratio:7.3f}{likeness:>19}{learnt.apart:7.3f}{learnt.score.backgrounds:6}/6"
    )


def read(file: Path) -> dict[str, Learnt]:
    rows = json.loads(file.read_text(encoding="utf-8"))
    return {row["name"]: Learnt(**{**row, "ranks": tuple(row["ranks"]), "score": LoraScore(**row["score"])}) for row in rows}


def save(file: Path, known: dict[str, Learnt]) -> None:
    with atomic_write(file, "w") as stream:
        json.dump([asdict(learnt) for learnt in known.values()], stream, indent=1)
