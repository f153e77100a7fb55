"""Stand-ins for a host's programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.edge.stubs import Programs


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path / "bin")
