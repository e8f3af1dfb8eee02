"""What docs/stress-your-worker.md shows: its test module passes for a correct worker and fails for a bad one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from crewd.client.cli.main import main

pytestmark = pytest.mark.process
ROOT = Path(__file__).parents[3]

FEW_HISTORIES = """
from hypothesis import Phase, settings
phases = [Phase.explicit, Phase.generate]
settings.register_profile("few", max_examples={count}, phases=phases, derandomize=True)
settings.load_profile("few")
"""


@pytest.mark.parametrize(
    ("worker", "count", "passed"), [("mended", 3, True), pytest.param("report", 40, False, marks=pytest.mark.long)]
)
def test_the_documented_test_module(worker: str, count: int, passed: bool, tmp_path: Path) -> None:
    page = (ROOT / "docs/stress-your-worker.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "test_report.py").write_text(block.replace(":mended", f":{worker}"))
    (tmp_path / "conftest.py").write_text(FEW_HISTORIES.format(count=count))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)
    if passed:
        assert (done.returncode, "3 passed" in done.stdout) == (0, True), done.stdout
    else:
        assert "leaves no half-written file" in done.stdout
        assert "2 failed, 1 passed" in done.stdout, done.stdout


def test_what_the_page_shows_is_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/stress-your-worker.md").read_text()
    (shown,) = re.findall(r"```console\n\$ crew (.*?)\n(.*?)```", page, re.DOTALL)
    monkeypatch.setenv("COLUMNS", "80")
    done = CliRunner().invoke(main, shown[0].split())
    assert done.exit_code == 1
    assert re.sub(r"[0-9.]+ s later", "0.00 s later", done.stdout) == shown[1]
