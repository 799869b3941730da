"""Finds out whether a request was meant for this machine.

A website can give its own name the address 127.0.0.1 (DNS rebinding). To a browser, the service is
then a part of that site, whose scripts may read its answers. But they cannot change the Host
header, which still has the name of the site.
"""

import re
from ipaddress import ip_address

PORT = re.compile(r":[0-9]*$")


def is_loopback(address: str) -> bool:
    """Returns whether an address is one that only this machine reaches; a name is none."""
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def is_this_machine(header: str, host: str) -> bool:
    """Returns whether a Host header means this machine.

    Args:
        header: The header: a name or an address, with or without a port.
        host: What the service listens on, which may be a name of this machine.
    """
    name = PORT.sub("", header.lower())
    is_known = name in ("localhost", host.lower())
    return is_known or is_loopback(name.removeprefix("[").removesuffix("]"))
