"""Embeddings in prompts (Gal et al. 2022, Textual Inversion): words that stand for learnt vectors.

Knows words, files and which vectors fit a model; how an encoder is told them is `engine.generation.vocabulary`'s affair.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from engine.embedding_files import embedding_files
from engine.errors import AdapterError, PromptError
from engine.formats.embedding_file import by_encoder, read_embedding
from engine.workspace import Workspace

if TYPE_CHECKING:
    from engine.adapters.merge import Applied
    from engine.families.base import Family

Source = Path | Mapping[str, Tensor]
"""Where an embedding comes from: a file, or the tensors that one would have by their names in it."""
HASH_DIGITS = 12


@dataclass(frozen=True)
class Embedding:
    """One that fits the model.

    Attributes:
        vectors: (n, D) for each of the model's encoders, in their order.
        hash: first 12 digits of the file's SHA-256; "" of one that came with a LoRA.
    """

    word: str
    vectors: tuple[Tensor, ...]
    hash: str = ""


class Embeddings:
    """The embeddings that prompts for one model may name. A file is read when a prompt names it.

    Args:
        widths: of the vectors of each CLIP text encoder that reads whole prompts, by the encoder's name in a file; () for a
            model without any.
        files: word -> file.
        bundled: word -> tensors, of the LoRAs in force; a file of the same name that fits comes first.

    Attributes:
        problems: those that prompts have named so far in vain; their names stay plain words.
    """

    def __init__(
        self, widths: Mapping[str, int], files: Mapping[str, Path], bundled: Mapping[str, Mapping[str, Tensor]] | None = None
    ) -> None:
        self.widths, self.problems = dict(widths), list[PromptError]()
        self._sources: dict[str, tuple[str, list[Source]]] = {}
        for word, source in [*files.items(), *(bundled or {}).items()]:
            if key := _plain(word):
                self._sources.setdefault(key, (word, []))[1].append(source)
        self._read: dict[str, Embedding | None] = {}
        self._used: dict[str, str] = {}

    @property
    def used(self) -> list[tuple[str, str]]:
        """Word and hash of the files that prompts have named so far, for `TI hashes`; what a LoRA brings is in the LoRA's hash."""
        return list(self._used.items())

    def perhaps_in(self, text: str) -> list[str]:
        """Words that may stand in a text; whether one does, its tokens tell."""
        text = _plain(text).replace(" ", "")
        return [word for key, (word, _) in self._sources.items() if key.replace(" ", "") in text]

    def meet(self, word: str) -> Embedding | None:
        """The embedding of a word that stands in a prompt; None, and a problem, if it does not fit."""
        key = _plain(word)
        if key not in self._read:
            self._read[key] = self._find(*self._sources[key])
        found = self._read[key]
        if found and found.hash:
            self._used[found.word] = found.hash
        return found

    def report_unread(self, text: str) -> None:
        """Tell of the words in a text for a model that cannot be told vectors."""
        for word in self.perhaps_in(text):
            if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE):
                self.meet(word)

    def _find(self, word: str, sources: Sequence[Source]) -> Embedding | None:
        """The first that fits; if none does, what is wrong with the first is told."""
        if not self.widths:
            self.problems.append(_no_place(word))
            return None
        problems: list[PromptError] = []
        for source in sources:
            try:
                return self._load(word, source)
            except PromptError as problem:
                problems.append(problem)
        self.problems.append(problems[0])
        return None

    def _load(self, word: str, source: Source) -> Embedding:
        """Raises PromptError: `prompt.embedding_unreadable`, `prompt.embedding_base`."""
        try:
            file = read_embedding(source) if isinstance(source, Path) else None
            vectors = file.vectors if file else by_encoder(source)
        except AdapterError as error:
            raise _unreadable(word, str(error.values["reason"])) from error
        except ValueError as error:
            raise _unreadable(word, str(error)) from error
        digest = file.sha256[:HASH_DIGITS] if file else ""
        if fitting := self._fitting(vectors):
            return Embedding(word, fitting, digest)
        raise _other_base(word, vectors, self.widths)

    def _fitting(self, vectors: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """In the order of the encoders; () when they are not what the model has."""
        if len(self.widths) == len(vectors) == 1:  # files for a single encoder call it anything
            vectors = {name: tensor for name in self.widths for tensor in vectors.values()}
        if {name: tensor.shape[1] for name, tensor in vectors.items()} != self.widths:
            return ()
        return tuple(vectors[name] for name in self.widths)


def embeddings_for(model: Family, workspace: Workspace, applied: Sequence[Applied] = ()) -> Embeddings:
    """The embeddings in the folders and those of the LoRAs in force, of which the first counts, for the prompts of one request."""
    bundled = {word: tensors for entry in reversed(applied) for word, tensors in entry.embeddings.items()}
    widths = {name: model.parts[encoder].get_input_embeddings().embedding_dim for encoder, name in model.embedding_parts.items()}
    return Embeddings(widths, embedding_files(workspace), bundled)


def _plain(text: str) -> str:
    """A text as CLIP's tokenizer sees it: in small letters, with single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).lower().split())


def _no_place(word: str) -> PromptError:
    return PromptError(
        "prompt.embedding_no_place", f"The embedding {word!r} cannot be used with this model, which reads it as a word.",
        "Embeddings are for Stable Diffusion and SDXL.", "Remove its name, or choose another model.", name=word,
    )  # fmt: skip


def _unreadable(word: str, reason: str) -> PromptError:
    return PromptError(
        "prompt.embedding_unreadable", f"The embedding {word!r} cannot be read and is not in force: {reason}.",
        "A file made by Textual Inversion.", "Use its .safetensors version, or download it again.", name=word, reason=reason,
    )  # fmt: skip


def _other_base(word: str, vectors: Mapping[str, Tensor], widths: Mapping[str, int]) -> PromptError:
    given = " + ".join(str(tensor.shape[1]) for tensor in vectors.values())
    wanted = " + ".join(map(str, widths.values()))
    return PromptError(
        "prompt.embedding_base", f"The embedding {word!r} was made for another base model and is not in force.",
        f"Vectors of {wanted} numbers; it has {given}.", "Use the one for this model, or remove its name.",
        name=word, given=given, wanted=wanted,
    )  # fmt: skip
