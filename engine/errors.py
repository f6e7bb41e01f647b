"""Errors for people: what happened (with the value), what was expected, what to do.

Each carries a stable `code` and the `values` in its text, so that the page can say the same in another language. The
engine's own text is English.
"""

from __future__ import annotations


class EngineError(Exception):
    """A failure the user can act on.

    Args:
        code: stable identifier, `room.reason`, for example `dataset.no_pictures`.
        what: what happened, naming the offending value.
        expected: what would have been right.
        todo: what to do now.
        values: the values inside the three sentences, by name.
    """

    def __init__(self, code: str, what: str, expected: str = "", todo: str = "", **values: object) -> None:
        super().__init__(" ".join(part for part in (what, expected, todo) if part))
        self.code, self.what, self.expected, self.todo, self.values = code, what, expected, todo, values

    def to_dict(self) -> dict:
        """Plain data for events and job rows; `values` become text."""
        values = {name: str(value) for name, value in self.values.items()}
        return {"code": self.code, "what": self.what, "expected": self.expected, "todo": self.todo, "values": values}

    @classmethod
    def from_dict(cls, data: dict) -> EngineError:
        return cls(data["code"], data["what"], data.get("expected", ""), data.get("todo", ""), **data.get("values", {}))


class ConfigError(EngineError):
    """A field is unknown, contradictory or out of bounds. `values["field"]` is its path."""


class PathError(EngineError):
    """A name or a folder that may not be used."""


class DatasetError(EngineError):
    """The pictures or captions cannot be trained on."""


class ModelError(EngineError):
    """A checkpoint cannot be found, read or recognised."""


class AdapterError(EngineError):
    """An adapter file cannot be read or does not fit the base model."""


class PromptError(EngineError):
    """A prompt or a tag in it cannot be honoured."""


class DownloadError(EngineError):
    """Something cannot be fetched, or is not what it should be."""


class JobError(EngineError):
    """A job cannot be started, found or changed."""


class Interrupted(EngineError):
    """Work was asked to stop; everything finished so far is saved."""


class Skipped(EngineError):
    """The rest of a batch was not wanted; what comes after it is."""
