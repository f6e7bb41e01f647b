"""The text in a picture, back into settings: what AUTOMATIC1111, Forge and this program write, by the names they use."""

from engine.recall.picture_text import recall
from engine.recall.report import REASONS, Fate, Line, Recalled

__all__ = ["REASONS", "Fate", "Line", "Recalled", "recall"]
