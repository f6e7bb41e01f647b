"""Every algorithm in the variants that the laws are checked on."""

from __future__ import annotations

from engine.config.adapter import (
    AdaloraOptions,
    ArdLoraOptions,
    BoftOptions,
    DeloraOptions,
    DyloraOptions,
    FullOptions,
    GloraOptions,
    HiraOptions,
    Ia3Options,
    LayerOptions,
    LohaOptions,
    LokrOptions,
    LoraOptions,
    MissOptions,
    NormOptions,
    OftOptions,
    TloraOptions,
    VeraOptions,
)

CASES: dict[str, LayerOptions] = {
    "lora": LoraOptions(rank=3, alpha=2, conv_rank=2, conv_alpha=5),
    "rslora": LoraOptions(rank=3, alpha=2, scaling="root"),
    "lora-fa": LoraOptions(rank=3, alpha=2, freeze_down=True),
    "lora orthogonal": LoraOptions(rank=4, alpha=2, conv_rank=2, initial="orthogonal"),
    "pissa": LoraOptions(rank=3, alpha=2, initial="pissa"),
    "pissa dora": LoraOptions(rank=3, alpha=2, initial="pissa", decompose="outputs"),
    "olora": LoraOptions(rank=3, alpha=2, initial="olora"),
    "dora": LoraOptions(rank=3, alpha=2, decompose="outputs"),
    "dora inputs": LoraOptions(rank=3, alpha=2, decompose="inputs"),
    "lora tucker": LoraOptions(rank=3, alpha=2, tucker=True),
    "dora tucker": LoraOptions(rank=3, alpha=2, tucker=True, decompose="outputs"),
    "loha": LohaOptions(rank=3, alpha=2, conv_rank=2, conv_alpha=1),
    "loha tucker": LohaOptions(rank=2, alpha=1, tucker=True),
    "loha dora": LohaOptions(rank=2, alpha=1, decompose="outputs"),
    "loha dora inputs": LohaOptions(rank=2, alpha=1, decompose="inputs", tucker=True),
    "lokr": LokrOptions(rank=2, alpha=1, conv_rank=1, conv_alpha=2),
    "lokr factor": LokrOptions(rank=2, alpha=1, factor=1),
    "lokr full": LokrOptions(full_matrix=True),
    "lokr tucker": LokrOptions(rank=2, alpha=1, tucker=True),
    "lokr dora": LokrOptions(rank=2, alpha=1, decompose="outputs"),
    "lokr dora inputs": LokrOptions(full_matrix=True, decompose="inputs"),
    "glora": GloraOptions(rank=2, alpha=1),
    "oft": OftOptions(block_size=5),
    "coft": OftOptions(block_size=5, constraint=0.05),
    "oft rescaled": OftOptions(block_size=2, rescaled=True),
    "oft blocks": OftOptions(blocks=2, rescaled=True, constraint=0.1),
    "boft": BoftOptions(block_size=2),
    "boft rescaled": BoftOptions(block_size=8, rescaled=True, constraint=0.1),
    "ia3 output": Ia3Options(),
    "ia3 input": Ia3Options(side="input"),
    "full": FullOptions(),
    "full without bias": FullOptions(train_bias=False),
    "norm": NormOptions(),
    "adalora": AdaloraOptions(rank=3, alpha=2, conv_rank=2),
    "ard_lora": ArdLoraOptions(rank=8, alpha=5, conv_rank=6),
    "dylora": DyloraOptions(rank=4, alpha=2, unit=2),
    "tlora": TloraOptions(rank=4, alpha=2, conv_rank=3, min_rank=2),
    "vera": VeraOptions(rank=3, alpha=2, conv_rank=2),
    "miss": MissOptions(rank=4, alpha=2),
    "hira": HiraOptions(rank=3, alpha=2, conv_rank=2),
    "delora": DeloraOptions(rank=3, alpha=2, conv_rank=2, strength=2),
}
"""Name of the variant -> its options."""

EXPORTED: set[str] = {"adalora", "ard_lora", "pissa", "pissa dora", "olora", "tlora", "vera", "miss", "delora"}
"""Variants whose file is another algorithm's form of the same change, equal to 1e-5 instead of to the bit."""

ROUNDED: set[str] = {"lora orthogonal"}
"""Variants that begin as the base to 1e-5 only, because they begin as a product of factors that cancel."""
