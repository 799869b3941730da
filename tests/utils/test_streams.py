"""Scripts whose standard streams are closed or full, as real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
from utils.cli import Parser, import_tensorflow, run
def main(args):
    import_tensorflow()
    with Path(sys.argv.pop()).open("w") as file:
        assert file.fileno() > 2
        print("lost" * 5000)
        print("lost", file=sys.stderr)
        file.write("kept" + sys.stdin.read())
run(main, Parser(""), [])
"""


def run_in_shell(redirection, *words, **environment):
    command = f'exec "$@" {redirection}'
    return subprocess.run(
        ["bash", "-c", command, "bash", sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_are_replaced_by_the_null_device(tmp_path, closed):
    (tmp_path / "tensorflow.py").write_text("import os\nos.write(2, b'note')")
    environment = {"PYTHONPATH": str(tmp_path)}
    done = run_in_shell(f"</dev/null {closed}", "-c", SCRIPT, str(tmp_path / "out"), **environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_text() == "kept"
    assert done.stderr == ("" if "2>&-" in closed else "lost\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_standard_output_is_a_failed_job(unbuffered):
    arguments = "make_demo_data.py", "--help"
    done = run_in_shell(">/dev/full", *arguments, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert done.stderr.startswith("error: standard output: no space left on device, free some")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("flag", "code"), [("--help", 1), ("--unknown", 2)])
def test_nothing_is_printed_if_the_reader_has_exited(flag, code):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "make_demo_data.py", flag]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT)
    assert done.returncode == code
    assert done.stderr.startswith(b"error: unknown flag" if code == 2 else b"")
    assert len(done.stderr.splitlines()) == code - 1
    assert subprocess.run(command, stdout=writer, stderr=writer, cwd=ROOT).returncode == code
    os.close(writer)
