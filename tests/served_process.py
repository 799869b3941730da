"""The process of a service on a fake network: `python -m tests.served_process`.

Its last line says whether TensorFlow was imported.
"""

import argparse
import sys
import threading

from tests.served import make_network
from utils import cli
from utils.serving.server import bind, run_server
from utils.serving.settings import ServingSettings

FOREVER = 1000.0  # seconds, more than any test waits


def main(args):
    """Serves; the network takes some time, or hangs."""
    seconds = FOREVER if args.hang else args.seconds

    def hold(session):
        threading.Event().wait(seconds)

    network = make_network(hold if seconds else None).network
    settings = ServingSettings(timeout=args.timeout, hang_after=0.3 if args.hang else FOREVER)
    run_server(network, settings, bind("127.0.0.1", args.port))
    print("tensorflow" in sys.modules)


def build_parser() -> argparse.ArgumentParser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--timeout", type=float, default=20.0)
    parser.add_argument("--hang", action="store_true")
    return parser


if __name__ == "__main__":
    cli.run(main, build_parser())
