"""The part of the benchmarks that runs commands and says what they took."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("psutil")
pytest.importorskip("benchmarks._process", reason="not in a wheel")

from benchmarks._process import run_limited


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_command_that_prints_much_comes_to_its_end():
    taken = run_limited(python("print('x' * 1_000_000, end='')"), limit=60)
    assert taken.finished
    assert taken.output == "x" * 1_000_000
    assert 0.001 < taken.gigabytes


def test_a_command_is_ended_at_the_limit():
    taken = run_limited(python("import time; print(1, flush=True); time.sleep(60)"), limit=1.5)
    assert not taken.finished
    assert 1.5 <= taken.seconds < 30
    assert taken.output == ""


def test_what_a_command_says_of_its_failure_is_kept(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(subprocess.CalledProcessError) as error:
        run_limited(python("print('so far'); raise SystemExit('it broke')"), log=log)
    assert error.value.returncode == 1
    assert error.value.output == "so far\n"
    assert log.read_text() == "it broke\n"


def test_memory_is_that_of_all_children_at_a_time():
    # More than this process has, with which the kernel's figure of a child begins.
    child = "import time; held = bytearray(400_000_000); time.sleep(2)"
    both = f"""
import subprocess, sys
children = [subprocess.Popen([sys.executable, "-c", {child!r}]) for _ in range(2)]
for child in children:
    child.wait()
"""
    assert run_limited(python(both)).gigabytes > 0.8
