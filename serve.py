"""Serves a detector over HTTP."""

import argparse
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

from utils import cli
from utils.models import ModelSource, add_model_flags, open_model
from utils.packages import missing_package
from utils.serving.settings import MEBIBYTE, MEGAPIXEL, ServingSettings
from utils.text import counted

DEFAULT = ServingSettings()
PACKAGES = {  # of requirements-serve.txt, by the name of their module
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
}
MAX_QUEUE = 10_000
MAX_BATCH = 256  # a network is loaded per power of two up to it
SHORTEST_HANG = 10.0  # seconds


def build_parser() -> cli.Parser:
    """Builds the parser of the flags."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add_model_flags(parser)
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s, only this machine)",
    )
    add(
        "--port",
        type=cli.integer(0, 65_535),
        default=8000,
        help="port to listen on, 0 for any free one (default: %(default)s)",
    )
    add(
        "--max-batch",
        type=cli.at_most(MAX_BATCH),
        default=DEFAULT.max_batch,
        metavar="N",
        help="maximum number of images per call of the network (default: %(default)s)",
    )
    add(
        "--max-wait-ms",
        type=cli.zero_or_more,
        default=1000 * DEFAULT.max_wait,
        metavar="F",
        help="milliseconds to wait for a full batch (default: %(default)g, take what waits)",
    )
    add(
        "--queue",
        type=cli.at_most(MAX_QUEUE),
        default=DEFAULT.queue,
        metavar="N",
        help="maximum number of requests that are accepted and not yet answered "
        "(default: %(default)s)",
    )
    add(
        "--timeout",
        type=cli.above_zero,
        default=DEFAULT.timeout,
        metavar="S",
        help="seconds from the first byte of a request to its answer (default: %(default)g)",
    )
    add(
        "--max-megabytes",
        type=cli.above_zero,
        default=DEFAULT.max_bytes / MEBIBYTE,
        metavar="F",
        help="maximum size of a request (default: %(default)g)",
    )
    add(
        "--max-megapixels",
        type=cli.above_zero,
        default=DEFAULT.max_pixels / MEGAPIXEL,
        metavar="F",
        help="maximum number of pixels of an image (default: %(default)g)",
    )
    add(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="file with the bearer token that requests must carry (default: no token)",
    )
    add(
        "--data",
        type=Path,
        metavar="DIR",
        help="VOC folder whose images the page shows with detections and mistakes (default: none)",
    )
    return parser


def main(args: argparse.Namespace) -> None:
    """Loads the model and serves it until a signal ends the process."""
    source = ModelSource(args.run, args.model, args.threads, args.precision)
    for module, package in PACKAGES.items():
        if find_spec(module) is None:
            raise missing_package("serve.py", package, "requirements-serve.txt")

    from utils.data.imagesets import voc_dirs
    from utils.serving.hosts import is_loopback
    from utils.serving.network import open_network
    from utils.serving.server import bind, run_server
    from utils.serving.tokens import read_token

    if args.data:
        voc_dirs(args.data)  # so that a wrong folder is known at once
    token = read_token(args.token_file) if args.token_file else None
    # As the first process of a container, it would ignore the signal while the model is loaded.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    bound = bind(args.host, args.port)  # before the model, so that a port in use is known at once
    is_local = is_loopback(bound.getsockname()[0])
    if token is None and not is_local:
        print(
            f"warning: everyone who reaches {args.host} can use the service, add --token-file",
            file=sys.stderr,
        )
    settings = ServingSettings(
        max_batch=args.max_batch,
        max_wait=args.max_wait_ms / 1000,
        queue=args.queue,
        timeout=args.timeout,
        max_bytes=int(args.max_megabytes * MEBIBYTE),
        max_pixels=int(args.max_megapixels * MEGAPIXEL),
        token=token,
        local_host=args.host if token is None and is_local else None,
        data=args.data,
        # All requests of such a call have expired, so it cannot be worth waiting for.
        hang_after=max(SHORTEST_HANG, 2 * args.timeout),
    )
    model = open_model(source)
    network = open_network(model, settings.max_batch)
    if network.max_batch != settings.max_batch:
        print(
            f"note: {source.model} takes {counted(network.max_batch, 'image')} per call, which "
            f"replaces --max-batch {settings.max_batch}",
            file=sys.stderr,
        )
    network.warm_up()
    print(f"note: {model.origin} on {network.runtime}", file=sys.stderr)
    run_server(network, settings, bound)


if __name__ == "__main__":
    cli.run(main, build_parser())
