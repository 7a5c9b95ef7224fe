"""Where the tests find real models, photos and exports."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

DATA = Path(os.environ.get("EDGE_AGENT_TEST_DATA", ROOT.parent / "shared" / "data"))
"""The folder of real test data: see EDGE_AGENT_TEST_DATA in CONTRIBUTING.md."""

CORAL = DATA / "coral"
CUSTOM_VISION = DATA / "customvision"
FINISHES = ROOT / "models" / "finishes"

need_data = pytest.mark.skipif(
    not CORAL.is_dir(), reason="test data: set EDGE_AGENT_TEST_DATA to a folder with coral/ and customvision/"
)
