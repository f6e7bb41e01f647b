"""What an examination comes to: the findings, a few numbers, and whether one can train."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.datasets.doctor.finding import SEVERITIES, Finding

Verdict = Literal["ready", "fix_first", "must_not"]


@dataclass(frozen=True)
class Report:
    """Attributes:
    facts: plain data: pictures, views_per_epoch, captions (origin -> pictures), concepts, model, family, resolution, kind, trigger.
    """

    findings: list[Finding]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """`must_not` while something blocks training, `fix_first` while anything is worse than advice."""
        if any(found.blocks for found in self.findings):
            return "must_not"
        return "ready" if all(found.severity == "advice" for found in self.findings) else "fix_first"

    @property
    def counts(self) -> dict[str, int]:
        """Severity -> number of findings, gravest first."""
        counted = Counter(found.severity for found in self.findings)
        return {severity: counted[severity] for severity in SEVERITIES}

    @property
    def why(self) -> str:
        """The verdict as a sentence."""
        if self.verdict == "must_not":
            return next(found.message for found in self.findings if found.blocks)
        if self.verdict == "ready":
            return f"The {self.facts.get('pictures', 0)} pictures can be trained on."
        errors, warnings = self.counts["error"], self.counts["warning"]
        return f"It can be trained on, but the result will be better without {_listed(errors, warnings)}."

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the verdict for readers who have no Report."""
        return {
            "verdict": self.verdict, "why": self.why, "counts": self.counts, "facts": self.facts,
            "findings": [found.to_dict() for found in self.findings],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Report:
        return cls([Finding.from_dict(found) for found in data["findings"]], data["facts"])


def _listed(errors: int, warnings: int) -> str:
    words = [f"{count} {name}{'s' * (count != 1)}" for count, name in ((errors, "error"), (warnings, "warning")) if count]
    return " and ".join(words)


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Gravest first; of equals what is about the whole dataset first, otherwise as they came."""
    return sorted(findings, key=lambda found: (not found.blocks, SEVERITIES.index(found.severity), found.file != ""))
