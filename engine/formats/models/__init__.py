"""Families of base models as they lie on disk. `MODELS` is the one place that lists them."""

from __future__ import annotations

from engine.formats.models.base import ModelFormat
from engine.formats.models.flux import FLUX
from engine.formats.models.sd1 import SD1
from engine.formats.models.sd2 import SD2
from engine.formats.models.sd3 import SD3
from engine.formats.models.sdxl import SDXL
from engine.formats.models.z_image import Z_IMAGE

MODELS: dict[str, ModelFormat] = {"sd1": SD1, "sd2": SD2, "sdxl": SDXL, "sd3": SD3, "flux": FLUX, "z_image": Z_IMAGE}
"""Family as `engine.formats.kinds.recognise` names it -> what is known of it."""
