"""Fail when a test was skipped for a reason that nobody allowed: skips.py JUNIT_XML ALLOWED."""

import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def main(report: Path, allowed: Path) -> int:
    """Print each skip that is not allowed; 1 where there is one, or where there is no report."""
    lines = (line.strip() for line in allowed.read_text("utf-8").splitlines())
    patterns = [re.compile(line) for line in lines if line and not line.startswith("#")]
    try:
        cases = list(ET.parse(report).iter("testcase"))  # noqa: S314  pytest wrote it just now
    except (OSError, ET.ParseError) as error:
        print(f"skips: no report of the tests: {error}")
        return 1
    skips = [(case, skip) for case in cases for skip in case.iter("skipped")]
    refused = [(c, s) for c, s in skips if not any(p.search(s.get("message", "")) for p in patterns)]
    for case, skip in refused:
        print(f"skips: {case.get('classname')}::{case.get('name')}: {skip.get('message')}")
    print(f"skips: {len(skips)} of {len(cases)} tests skipped, {len(refused)} for a reason not in {allowed}")
    return 1 if refused else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), Path(sys.argv[2])))
