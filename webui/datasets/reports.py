"""What became of files that came, as the page is told it."""

from __future__ import annotations

from typing import Any

from engine.datasets.incoming.intake import IntakeReport
from engine.datasets.incoming.names import Note
from webui.i18n import explain


def told_report(report: IntakeReport, language: str) -> dict[str, Any]:
    """`{added, kept_both: [{sent, name}], skipped: [{name, code, reason}], unreadable: the same}`, reasons in the language."""

    def told(note: Note) -> dict[str, str]:
        return {"name": note.name, "code": note.reason.code, "reason": explain(note.reason, language).text}

    return {
        "added": report.added,
        "kept_both": [{"sent": sent, "name": name} for sent, name in report.renamed],
        "skipped": [told(note) for note in report.skipped],
        "unreadable": [told(note) for note in report.findings],
    }
