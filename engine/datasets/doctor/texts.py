"""Findings about captions: trigger words, length, and captions that say nothing of their pictures.

Missing, empty and undecodable ones are found by `engine.datasets.scan`.
"""

from __future__ import annotations

from engine.datasets.captions import has_word, with_trigger
from engine.datasets.dataset import Picture
from engine.datasets.doctor.case import Case
from engine.datasets.doctor.finding import Finding, finding
from engine.token_counter import model_tokenizer

CHUNK = 75
"""Tokens that CLIP reads at once."""
CHUNKS = (75, 150, 225)
"""What Kohya's trainer can be told to read of a caption (`max_token_length`)."""
FEW = 4
"""Fewer captions than this may well be the same."""


def triggers(case: Case) -> list[Finding]:
    """Captions with another concept's trigger word, with one where there must be none, or without theirs."""
    words = case.dataset.triggers(case.trigger)
    found = []
    for name, picture in case.readable.items():
        if picture.caption_source not in ("file", "metadata"):
            continue
        own, caption = case.word(picture), picture.caption
        other = next((word for word in words if word != own and has_word(caption, word)), "")
        if name not in case.learnt:
            if other:
                text = f"The caption of this regularisation picture contains the trigger word {other!r}, so it teaches that everything is it."
                found.append(finding("caption.unwanted_trigger", name, text, other=other))
        elif own and not has_word(caption, own):
            found.append(_wrong(name, own, other) if other else _missing(name, own))
    return found


def _wrong(name: str, own: str, other: str) -> Finding:
    text = f"The caption contains {other!r}, the trigger word of other pictures, instead of {own!r}: both will mean a mixture."
    return finding("caption.wrong_trigger", name, text, trigger=own, other=other)


def _missing(name: str, own: str) -> Finding:
    text = f"The caption does not contain the trigger word {own!r}. Training here puts it in front unless told not to; other programs do not."
    return finding("caption.no_trigger", name, text, trigger=own)


def no_trigger(case: Case) -> list[Finding]:
    """A dataset whose pictures nothing will call. Kohya's folder names call them too: `20_robot`."""
    named = any(concept.class_tokens for concept in case.dataset.learnt)
    if case.kind == "style" or named or any(case.word(picture) for picture in case.learnt.values()):
        return []
    text = "There is no trigger word. A word that calls what is learnt, in every caption, makes it obey. Enter one, for example the name of the character in lower case."
    return [finding("dataset.no_trigger", "", text)]


def long(case: Case) -> list[Finding]:
    """Captions that are longer than the model's text encoder reads, counted with their trigger word."""
    tokenizer = model_tokenizer(case.model)
    if tokenizer is None:
        return []
    limit = case.model.habits.text_length
    found = []
    captions = [with_trigger(picture.caption, case.word(picture)) for picture in case.readable.values()]
    for name, encoded in zip(case.readable, tokenizer.encode_batch(captions, add_special_tokens=False), strict=True):
        if len(encoded.ids) > (limit - 1 if limit else CHUNK):  # T5 and Qwen3 need one for the end
            found.append(_long(name, len(encoded.ids), limit))
    return found


def _long(name: str, tokens: int, limit: int) -> Finding:
    passed = limit or max(chunk for chunk in CHUNKS if tokens > chunk)
    room = limit or CHUNK
    text = f"The caption has {tokens} tokens, more than {passed}; training reads the first {room} and cuts off the rest. Put what matters first, or shorten it."
    return finding("caption.long", name, text, tokens=tokens, passed=passed, room=room)


def identical(case: Case) -> list[Finding]:
    """The same caption on everything."""
    own = {name: picture for name, picture in case.learnt.items() if picture.caption_source in ("file", "metadata")}
    texts = {_content(case, picture) for picture in own.values()}
    if len(own) < FEW or len(texts) > 1:
        return []
    text = f"All {len(own)} captions are the same. The model cannot tell what changes from picture to picture, so all of it goes into the trigger word: clothes, place and pose too."
    first, *others = own
    return [finding("caption.identical", first, text, tuple(others), count=len(own))]


def _content(case: Case, picture: Picture) -> str:
    """The caption without what differs for other reasons: its own trigger word and the case of its letters."""
    return picture.caption.casefold().replace(case.word(picture).casefold(), "").strip(" ,")
