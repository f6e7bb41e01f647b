"""Find and replace by regular expression, in a process that is ended when it takes too long.

Some expressions need longer than the age of the universe for twenty letters, no rule tells all of them from harmless ones,
and Python cannot interrupt one. So they run where they can be killed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.errors import DatasetError

CHILD = Path(__file__).with_name("expression_child.py")
SECONDS = 5.0
"""For all texts together."""
SHOWN = 60
"""Characters of an expression that stand in a sentence."""


def substitute(texts: Sequence[str], find: str, replacement: str, case: bool = True, whole: bool = False) -> list[str]:
    """Each text with what the expression finds replaced, as `re.sub` does.

    Args:
        case: capital and small letters differ.
        whole: only texts that match from end to end.

    Raises:
        DatasetError: `edit.bad_expression` with the reason, `edit.slow_expression`.
    """
    shown = find if len(find) <= SHOWN else f"{find[:SHOWN]}…"
    order = {"texts": list(texts), "find": find, "replacement": replacement, "case": case, "whole": whole}
    try:
        told = subprocess.run(
            [sys.executable, "-I", str(CHILD)], input=json.dumps(order), capture_output=True, text=True, timeout=SECONDS
        )
        answer = json.loads(told.stdout or '{"reason": "it ended without a result"}')
    except subprocess.TimeoutExpired:
        raise DatasetError(
            "edit.slow_expression", f"The regular expression {shown!r} takes longer than {SECONDS:g} s.",
            todo="Make it simpler: avoid repetitions inside repetitions, as in (a+)+.", find=shown, seconds=f"{SECONDS:g}",
        ) from None  # fmt: skip
    if "reason" in answer:
        raise DatasetError(
            "edit.bad_expression", f"The regular expression {shown!r} cannot be used: {answer['reason']}.",
            todo="Correct it, or turn regular expressions off to look for the text itself.", find=shown, reason=answer["reason"],
        )  # fmt: skip
    return answer["texts"]
