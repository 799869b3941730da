"""The process of a service on a fake network: `python -m tests.served_process`.

Its last line says whether TensorFlow was imported.
"""

import argparse
import sys
import threading
from pathlib import Path

from tests.served import make_network, until
from utils import cli
from utils.serving.server import bind, run_server
from utils.serving.settings import ServingSettings

FOREVER = 1000.0  # seconds, more than any test waits


def main(args):
    """Serves; the network waits for a file, or hangs."""

    def wait(session):
        if args.hang:
            threading.Event().wait(FOREVER)
        until(args.wait_for.exists)

    network = make_network(wait if args.hang or args.wait_for else None).network
    settings = ServingSettings(timeout=args.timeout, hang_after=0.3 if args.hang else FOREVER)
    run_server(network, settings, bind("127.0.0.1", args.port))
    print("tensorflow" in sys.modules)


def build_parser() -> argparse.ArgumentParser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--wait-for", type=Path)
    parser.add_argument("--timeout", type=float, default=20.0)
    parser.add_argument("--hang", action="store_true")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
