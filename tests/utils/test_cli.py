import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from utils.cli import Parser, import_tensorflow, run
from utils.errors import JobError, UserError

ROOT = Path(__file__).parents[2]


class ResourceExhaustedError(Exception):
    """Has the name of TensorFlow's error."""


def make_parser():
    parser = Parser("A script.", prog="train.py")
    parser.add_argument("--backbone", default="mobilenetv2")
    parser.add_argument("--yolo", choices=["v3", "v4"], default="v4")
    parser.add_argument("--epochs", type=int, default=1)
    return parser


def run_until_exit(capsys, main, *argv):
    """Runs `main`; returns the exit code and the lines on standard error."""
    with pytest.raises(SystemExit) as stopped:
        run(main, make_parser(), list(argv))
    captured = capsys.readouterr()
    assert captured.out == ""
    return stopped.value.code, captured.err.splitlines()


def raising(error):
    def main(args):
        raise error

    return main


@pytest.fixture(autouse=True)
def _restore(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(os, "environ", os.environ.copy())


def test_main_receives_the_parsed_flags():
    received = []
    run(received.append, make_parser(), ["--yolo", "v3"])
    (args,) = received
    assert (args.backbone, args.yolo, args.debug) == ("mobilenetv2", "v3", False)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--bakbone", "x"], "error: unknown flag --bakbone, did you mean --backbone?"),
        (["--bakbone=x"], "error: unknown flag --bakbone, did you mean --backbone?"),
        (["--back", "x"], "error: unknown flag --back, did you mean --backbone?"),
        (["--yolo", "v5"], "error: argument --yolo: unknown value 'v5', did you mean v4?"),
        (["stray"], "error: unexpected argument 'stray', see train.py --help"),
        (["--epochs", "ten"], "error: argument --epochs: invalid int value: 'ten'"),
    ],
)
def test_a_usage_error_is_one_line_and_exits_with_2(capsys, argv, expected):
    code, lines = run_until_exit(capsys, raising(AssertionError), *argv)
    assert code == 2
    assert lines == [expected]


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (UserError("no images in VOC,\nadd some"), 2, "error: no images in VOC, add some"),
        (JobError("loss is NaN"), 1, "error: loss is NaN"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (
            OSError(errno.ENOSPC, "No space left on device", "logs/a.h5"),
            1,
            "error: logs/a.h5: no space left on device, free some space or choose another folder",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            "error: standard output: no space left on device, free some space or choose another "
            "folder",
        ),
        (
            OSError(errno.EIO, "Input/output error", "a.jpg"),
            1,
            "error: a.jpg: input/output error, check the disk or choose another folder",
        ),
        (
            MemoryError("9 GiB"),
            1,
            "error: out of memory, use smaller images or batches: 9 GiB",
        ),
        (
            ResourceExhaustedError("OOM when allocating tensor with shape[8,416,416,32]"),
            1,
            "error: out of memory, use smaller images or batches",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "out"),
            2,
            "error: out: read-only file system, choose a folder that can be written",
        ),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a.txt"),
            2,
            "error: a.txt: no such file or directory, check the path",
        ),
    ],
)
def test_an_error_is_one_line_and_exits_with_its_code(capsys, error, code, expected):
    assert run_until_exit(capsys, raising(error)) == (code, [expected])


def test_debug_prints_the_traceback_before_the_line(capsys):
    code, lines = run_until_exit(capsys, raising(UserError("no images")), "--debug")
    assert code == 2
    assert lines[0].startswith("Traceback")
    assert lines[-1] == "error: no images"


def run_script(body, *argv, **environment):
    script = (
        f"from utils.cli import Parser, run\ndef main(args):\n    {body}\nrun(main, Parser(''))"
    )
    return subprocess.run(
        [sys.executable, "-c", script, *argv],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | environment,
    )


def test_any_other_exception_is_one_line_and_exits_with_1():
    done = run_script("{}['key']")
    assert done.returncode == 1
    assert done.stderr == "error: KeyError: 'key' (--debug shows the traceback)\n"


def test_debug_prints_the_traceback_of_any_other_exception():
    done = run_script("{}['key']", "--debug")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")


def test_warnings_of_libraries_are_hidden_but_not_ours(tmp_path):
    (tmp_path / "keras").mkdir()
    (tmp_path / "keras" / "__init__.py").touch()
    (tmp_path / "keras" / "noisy.py").write_text("import warnings\nwarnings.warn('theirs')")
    body = "import warnings, keras.noisy; warnings.warn('ours')"
    done = run_script(body, PYTHONPATH=str(tmp_path))
    assert "ours" in done.stderr and "theirs" not in done.stderr


def test_importing_tensorflow_prints_nothing(tmp_path):
    (tmp_path / "tensorflow.py").write_text("import os\nos.write(2, b'note')")
    body = (
        "from utils.cli import import_tensorflow; import_tensorflow(); print('on', file=sys.stderr)"
    )
    done = run_script(f"import sys; {body}", PYTHONPATH=str(tmp_path))
    assert done.stderr == "on\n"
    noisy = run_script("import tensorflow", PYTHONPATH=str(tmp_path))
    assert noisy.stderr == "note"  # the fake module above was imported


def test_tensorflow_that_is_not_installed_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(UserError, match=r"pip install -r requirements\.txt"):
        import_tensorflow()


def test_a_closed_pipe_is_not_an_error():
    script = "from utils.cli import Parser, run\nrun(lambda args: print('x' * 100_000), Parser(''))"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.wait()


def test_file_names_that_are_not_utf_8_can_be_printed(tmp_path):
    code = (
        "from utils.cli import Parser, run\n"
        "name = b'\\xb1\\xbb.jpg'.decode('utf-8', 'surrogateescape')\n"
        "run(lambda args: print(name), Parser(''), [])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT)
    assert done.stdout == b"\\udcb1\\udcbb.jpg\n"
