"""A port for a server of one's own."""

from contextlib import suppress
from random import SystemRandom
from socket import socket

# Below those that systems give to connections (RFC 6335: from 49152; Linux: from 32768): one of these may be another
# process's connection before the server has started.
_PORTS = range(11_000, 32_768)


def free_port() -> int:
    """One that nothing listens on, on the loopback address."""
    for port in SystemRandom().sample(_PORTS, 100):
        with suppress(OSError), socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("of 100 ports none is free")
