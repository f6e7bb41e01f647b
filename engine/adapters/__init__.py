"""Adapter algorithms, one file each. `ADAPTERS` is the one place that lists them."""

from __future__ import annotations

from engine.adapters.adalora import Adalora
from engine.adapters.ard_lora import ArdLora
from engine.adapters.base import Adapter
from engine.adapters.boft import Boft
from engine.adapters.delora import Delora
from engine.adapters.dylora import Dylora
from engine.adapters.full import Full
from engine.adapters.glora import Glora
from engine.adapters.hira import Hira
from engine.adapters.ia3 import Ia3
from engine.adapters.loha import Loha
from engine.adapters.lokr import Lokr
from engine.adapters.lora import Lora
from engine.adapters.miss import Miss
from engine.adapters.norm import Norm
from engine.adapters.oft import Oft
from engine.adapters.tlora import Tlora
from engine.adapters.vera import Vera

ADAPTERS: dict[str, type[Adapter]] = {
    "lora": Lora,
    "loha": Loha,
    "lokr": Lokr,
    "glora": Glora,
    "oft": Oft,
    "boft": Boft,
    "ia3": Ia3,
    "full": Full,
    "norm": Norm,
    "dylora": Dylora,
    "adalora": Adalora,
    "ard_lora": ArdLora,
    "tlora": Tlora,
    "vera": Vera,
    "miss": Miss,
    "hira": Hira,
    "delora": Delora,
}
"""Algorithm name (as in configs and `engine.formats.suffixes.algorithm_of`) -> its class."""
