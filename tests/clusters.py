"""How workers of one training on this machine find each other."""

import contextlib
import json
import socket


def free_addresses(count):
    """Returns addresses of this machine that nothing listens at."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        return [f"localhost:{server.getsockname()[1]}" for server in servers]


def tf_config(index, kind="worker", **jobs):
    """Returns the TF_CONFIG of one of several workers."""
    return json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})
