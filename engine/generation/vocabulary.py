"""The words of a CLIP text encoder: its own, and those of embeddings, which it is told as vectors.

Knows token ids and the table that an encoder looks them up in; no grammar and no file. A word is met as AUTOMATIC1111 meets
it: by the tokens of its name, so without regard to case, the longest name first; but whole words only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from engine.generation.embeddings import Embeddings

WORD_END = "</w>"
"""How CLIP's tokens spell the end of a word."""


class Vocabulary:
    """What one encoder can be told; the vectors of embeddings have the token ids that follow its own.

    Args:
        tokenizer: CLIPTokenizer.
        encoder: CLIPTextModel or CLIPTextModelWithProjection.
        embeddings: None for none.
        place: which of the embeddings' encoders this one is.

    Attributes:
        lengths: first token id of an embedding met so far -> its vectors; `chunk_tokens` keeps them together.
    """

    def __init__(self, tokenizer: Any, encoder: Any, embeddings: Embeddings | None, place: int) -> None:
        self._tokenizer, self._encoder, self._embeddings, self._place = tokenizer, encoder, embeddings, place
        self._size: int = encoder.get_input_embeddings().num_embeddings
        self._first: dict[str, int] = {}
        self._vectors: list[Tensor] = []
        self.lengths: dict[int, int] = {}

    def tokenize(self, text: str) -> list[int]:
        """Token ids of the encoder's own, without begin, end or truncation."""
        return self._tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids

    def read(self, text: str) -> list[int]:
        """Token ids, those of embeddings among them, without begin, end or truncation."""
        tokens = self.tokenize(text)
        names = self._names(text)
        if not names:
            return tokens
        read: list[int] = []
        place, starts = 0, True
        while place < len(tokens):
            for name, word in names.get(tokens[place], ()) if starts else ():
                if tokens[place : place + len(name)] == name and (ids := self._ids(word)):
                    read += ids
                    place += len(name)
                    break
            else:
                read.append(tokens[place])
                starts = self._tokenizer.convert_ids_to_tokens(tokens[place]).endswith(WORD_END)
                place += 1
        return read

    @contextmanager
    def spoken(self, tokens: Sequence[int]) -> Iterator[Tensor]:
        """Token ids (1, T) that the encoder can read; as long as it is in here, it sees the vectors of embeddings among them."""
        ids = torch.tensor([tokens], device=self._encoder.device)
        added = ids >= self._size
        if not added.any():
            yield ids
            return
        vectors = torch.cat(self._vectors).to(ids.device)[ids[added] - self._size]

        def see(_: Any, __: Any, looked_up: Tensor) -> Tensor:
            return looked_up.masked_scatter(added[..., None], vectors.to(looked_up.dtype))

        hook = self._encoder.get_input_embeddings().register_forward_hook(see)
        try:
            yield ids.masked_fill(added, self._tokenizer.bos_token_id)  # no summary is taken where a text begins
        finally:
            hook.remove()

    def _names(self, text: str) -> dict[int, list[tuple[list[int], str]]]:
        """First token -> the names that begin with it and may stand in the text, the longest first."""
        words = self._embeddings.perhaps_in(text) if self._embeddings else []
        names: dict[int, list[tuple[list[int], str]]] = {}
        for name, word in sorted(((self.tokenize(word), word) for word in words), key=lambda each: -len(each[0])):
            if name:
                names.setdefault(name[0], []).append((name, word))
        return names

    def _ids(self, word: str) -> list[int]:
        """The token ids of an embedding's vectors; [] when it does not fit the model."""
        assert self._embeddings
        found = self._embeddings.meet(word)
        if not found:
            return []
        vectors = found.vectors[self._place]
        if word not in self._first:
            self._first[word] = self._size + sum(self.lengths.values())
            self.lengths[self._first[word]] = len(vectors)
            self._vectors.append(vectors)
        return list(range(self._first[word], self._first[word] + len(vectors)))
