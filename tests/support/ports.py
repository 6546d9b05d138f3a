"""A port for a server of one's own."""

from socket import socket


def free_port() -> int:
    """One that nothing listens on, on the loopback address."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
