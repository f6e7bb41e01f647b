"""Findings about pictures that are there twice. A picture shown twice as often is learnt by heart, and is then copied."""

from __future__ import annotations

from engine.datasets.doctor.case import Case
from engine.datasets.doctor.finding import Finding, finding
from engine.datasets.doctor.likeness import groups_alike


def exact(case: Case) -> list[Finding]:
    """Files of the same bytes."""
    return [
        finding(
            "picture.duplicate", group[0],
            f"The same file is there {len(group)} times; training shows the picture as often as all of them together. Keep one.",
            tuple(group[1:]), count=len(group),
        )
        for group in _same_bytes(case) if len(group) > 1
    ]  # fmt: skip


def near(case: Case) -> list[Finding]:
    """Pictures that look the same. The largest is the one to keep; those of the same bytes count once."""
    firsts = [group[0] for group in _same_bytes(case)]
    pictures = [(name, case.readable[name]) for name in firsts if case.looks[case.readable[name].path].likeness]
    pictures.sort(key=lambda each: -each[1].width * each[1].height)  # stable: of equals the first by name
    names = [name for name, _ in pictures]
    found = []
    for group in groups_alike([case.looks[picture.path].likeness for _, picture in pictures]):
        first, *others = (names[index] for index in group)
        text = (
            f"{len(group)} pictures look almost the same. Together they are learnt more than the others, and are copied in the end. "
            f"Keep one, the largest: {first!r}."
        )
        found.append(finding("picture.near_duplicate", first, text, tuple(others), count=len(group), name=first))
    return found


def _same_bytes(case: Case) -> list[list[str]]:
    """Names by content, each group in the order of the dataset."""
    groups: dict[str, list[str]] = {}
    for name, _, look in case.seen:
        groups.setdefault(look.sha256, []).append(name)
    return list(groups.values())
