"""Runs predict.py --workers ray in a process, and kills workers under it."""

import contextlib
import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import predict
from tests.jobs import read_records
from utils.ray_jobs.manifest import NAME

TIMEOUT = 500  # seconds for a job, less than pytest gives a test
PAUSE = 0.005  # seconds between two looks at the folder

needs_ray = pytest.mark.skipif(
    not importlib.util.find_spec("ray"), reason="needs Ray: pip install -r requirements-ray.txt"
)


def read_parts(folder):
    """Returns the records of the files of JSON lines in a folder, in the order of their names."""
    paths = sorted(Path(folder).glob("part-*"))
    return [record for path in paths for record in read_records(path)]


def running():
    """Returns the parent of each process that has not ended, by id."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *_ = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        if state != "Z":
            parents[int(path.parent.name)] = int(parent)
    return parents


class Driver:
    """A running job; what is left of it at the end of the block is killed, with its cluster.

    Args:
        flags: Flags of predict.py.
        cwd: Its directory.
        folder: Folder of the results, in the directory.
        timeout: Seconds for the job.
    """

    def __init__(self, *flags, cwd, folder, timeout=TIMEOUT):
        # On a busy machine, workers of a lower priority than the tests would take minutes.
        env = os.environ | {"RAY_worker_niceness": "0"}
        command = [sys.executable, predict.__file__, *map(str, flags)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, cwd=cwd, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        self._folder = Path(cwd, folder)
        self._killed = set()
        self._end = time.monotonic() + timeout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with self._process:  # closes its pipes, and waits
            pass

    def end(self):
        """Waits for the end; returns exit code, standard output and standard error."""
        out, err = self._process.communicate(timeout=self._end - time.monotonic())
        return self._process.returncode, out, err

    def kill(self):
        """Kills the driver."""
        self._process.kill()
        self._process.communicate()

    def terminate(self):
        """Asks the driver to end."""
        self._process.terminate()

    def kill_worker(self, after=0):
        """Kills a worker while it writes a part, once a number of parts is in the manifest.

        Returns:
            Its process id; None if the job ended before.
        """
        while self._process.poll() is None:
            unfinished = [*self._folder.glob(".part.*.part-*")]
            if unfinished and self._manifest_lines() >= after:
                pid = int(random.choice(unfinished).name.split(".part-")[0].rpartition(".")[2])
                if pid not in self._killed and pid in self.processes():
                    os.kill(pid, signal.SIGKILL)
                    self._killed.add(pid)
                    return pid
            self._wait()
        return None

    def wait_for_part(self):
        """Waits until a worker writes a part."""
        while self._process.poll() is None and not [*self._folder.glob(".part.*.part-*")]:
            self._wait()

    def processes(self):
        """Returns the ids of the processes of the job: those of the cluster are its descendants."""
        parents = running()
        found, new = set(), {self._process.pid}
        while new:
            found |= new
            new = {pid for pid, parent in parents.items() if parent in new} - found
        return found

    def listening(self):
        """Returns the addresses on which processes of the job accept connections."""
        sockets = set()
        for pid in self.processes():
            try:
                links = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
            except (FileNotFoundError, ProcessLookupError):
                continue
            sockets |= {link[8:-1] for link in links if link.startswith("socket:")}
        lines = [
            line.split()
            for table in ("tcp", "tcp6")
            for line in Path("/proc/net", table).read_text().splitlines()[1:]
        ]
        return {line[1].split(":")[0] for line in lines if line[3] == "0A" and line[9] in sockets}

    def _manifest_lines(self):
        path = self._folder / NAME
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def _wait(self):
        if time.monotonic() > self._end:
            raise TimeoutError("the job has not ended")
        time.sleep(PAUSE)
