"""Find and replace by regular expression, in a process that is ended when it takes too long.

Some expressions need longer than the age of the universe on twenty letters, no rule tells them all from harmless ones, and
Python cannot interrupt them. So they run where they can be killed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from engine.errors import DatasetError

SECONDS = 5.0
"""For one edit, whatever the number of captions."""
LARGEST = 64 * 2**20
"""Characters that all results may have together."""
CHILD = f"""
import json, re, sys
order = json.load(sys.stdin)
try:
    pattern = re.compile(order["find"], 0 if order["case"] else re.IGNORECASE)
    if pattern.groups or "\\\\" in order["replacement"]:
        pattern.sub(order["replacement"], "")  # tells of groups that are not there, also where nothing is found
    results = []
    for text in order["texts"]:
        found = pattern.fullmatch(text) if order["whole"] else None
        results.append((found.expand(order["replacement"]) if found else text) if order["whole"] else pattern.sub(order["replacement"], text))
        if sum(map(len, results[-1:])) > {LARGEST}:
            raise ValueError("the captions would become too long")
    print(json.dumps({{"texts": results}}))
except (re.error, IndexError, RecursionError, OverflowError, MemoryError, ValueError) as error:
    print(json.dumps({{"reason": str(error) or type(error).__name__}}))
"""
