"""The server of the console, on loopback."""

import socket

import uvicorn

from rolekeeper_cli.console.site import Site, application
from rolekeeper_cli.doctor_deployment import DoctorDeployment


def serve(deployment: DoctorDeployment, *, writes: bool, port: int) -> None:
    """Serve until Ctrl-C."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        config = uvicorn.Config(application(Site(deployment, writes)), log_level="warning")
        uvicorn.Server(config).run([listening])
