"""A base model written part by part in a layout and number format of choice, whatever it was stored as.

Every tensor is read, changed, rounded and written by itself, so that a model of any size needs the memory of one layer. Then the
new model is read in its new layout, and every tensor must be what was meant, to the bit. What no part reads (averaged weights,
the 24th block of Stable Diffusion 2.x's text encoder) is not taken over.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from engine.errors import ModelError
from engine.families.loading import load_schedule, load_tokenizers
from engine.families.parts import save_config
from engine.formats.folder_writer import folder_tensors, write_part
from engine.formats.lazy_tensor import LazyTensor
from engine.formats.models import MODELS
from engine.formats.models.base import CONFIGS
from engine.formats.number_formats import DTYPES
from engine.formats.safetensors_header import read_header
from engine.formats.safetensors_writer import not_as_written, tensor_bytes
from engine.formats.single_file import CONFIGS_KEY
from engine.formats.single_file_writer import write_model_file
from engine.formats.tokenizer_files import TOKENIZER_KINDS, find_tokenizer
from engine.formats.whole_model import PartState, WholeModel
from engine.tools.bench import Bench, Progress, shared_metadata
from engine.tools.checkpoint import Checkpoint, open_checkpoint
from engine.tools.layer_sum import LayerSum
from engine.workspace import atomic_write, copy_file, staged
