"""The curves of training runs, for the page that compares them."""

import heapq
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from utils.errors import UserError
from utils.history import HISTORY, read_history
from utils.text import printable

FOLDERS = (f"*/{HISTORY}", f"*/*/{HISTORY}")  # runs, and runs in a folder of runs
MAX_RUNS = 200
COLUMNS = ("epoch", "loss", "val_loss", "map50", "map")


def make_router(logs: Path) -> APIRouter:
    """Makes the route of the runs in a folder, of which only files `history.csv` are read."""
    router = APIRouter()

    @router.get("/runs", summary="Losses and mAP of the runs in logs/ by epoch")
    def runs() -> JSONResponse:
        return JSONResponse(read_curves(logs))

    return router


def read_curves(logs: Path) -> dict[str, Any]:
    """Reads the histories of the newest runs.

    Args:
        logs: A folder of run directories; it need not exist.

    Returns:
        A JSON document: `runs`, a list of `name` and `columns`, newest first; `faults`, one line
        for each file that cannot be used; `total`, the number of runs in the folder.
    """
    paths = [path for pattern in FOLDERS for path in logs.glob(pattern)]
    runs, faults = [], []
    for path in heapq.nlargest(MAX_RUNS, paths, key=_time_of):
        try:
            history = read_history(path)
        except (UserError, OSError) as error:
            faults.append(printable(str(error)))
            continue
        columns = {name: history[name] for name in COLUMNS if name in history}
        name = printable(path.parent.relative_to(logs).as_posix())
        runs.append({"name": name, "columns": columns})
    return {"runs": runs, "faults": faults, "total": len(paths)}


def _time_of(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed meanwhile, which reading reports
        return 0.0
