"""Hold two runs of ``edge-agent classify --json`` over the same pictures against each other.

``scores.py OURS THEIRS``, a line per picture and model in each. Exit code 1 where another label wins,
unless it was a toss-up between the two, or where the best score is too far off.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

BETWEEN_RUNTIMES = 20 / 256
"""How far the score of an int8 model may be from that of other kernels for the same model."""


def read(path: str) -> list[dict[str, Any]]:
    """What one run said."""
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def main() -> int:
    """Print one line of figures; name each label that differs."""
    ours, theirs = (read(path) for path in sys.argv[1:])
    wrong, tossed, distances = 0, 0, []
    for mine, yours in zip(ours, theirs, strict=True):
        (here, second, *_), (there, *_) = mine["predictions"], yours["predictions"]
        distances.append(abs(here["score"] - there["score"]))
        if here["index"] != there["index"]:
            is_toss_up = (
                here["score"] - second["score"] <= BETWEEN_RUNTIMES and there["index"] == second["index"]
            )
            tossed += is_toss_up
            wrong += not is_toss_up
            print(f"differs: {mine['model']['name']} {mine['image']}: {here} here, {there} there")
    print(
        f"{len(ours) - wrong - tossed} of {len(ours)} labels are the same, {tossed} toss-ups;"
        f" {distances.count(0)} best scores are equal, the others up to {max(distances):.3f} apart"
    )
    return int(wrong > 0 or max(distances) > BETWEEN_RUNTIMES)


if __name__ == "__main__":
    sys.exit(main())
