"""A service on its address: the socket is bound before anything is said about it."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import uvicorn

from trainwright.core.errors import NotPermitted, NotWritable
from trainwright.serve.app import create_app
from trainwright.serve.settings import Settings
from trainwright.work.embedded import open_worker
from trainwright.work.executors import open_executor

GRACE_S = 3
"""How long open answers (streams above all) may take to end when the service is asked to."""


def serve(workspace_root: Path, settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. `announce` gets the one address to open, once it can be opened.

    Raises NotWritable where the address is taken, and as `create_app` and `open_executor`.
    """
    require_safe(settings)
    listener = bind(settings)
    with listener, ExitStack() as around:
        app = create_app(workspace_root, settings)
        if settings.has_worker:
            if settings.work.container is not None:
                open_executor(settings.work)  # what the worker would fail over is said here, at once
            around.enter_context(open_worker(workspace_root, settings.work))
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # who asks is who connects: a header could say anything
            timeout_graceful_shutdown=GRACE_S,
            lifespan="on",
        )
        announce(name_address(settings, listener.getsockname()[1]))
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn ends in order, and then raises the signal again
            return


def require_safe(settings: Settings) -> None:
    """Raises NotPermitted where others could reach the service, and nothing tells them apart."""
    if not settings.is_loopback and settings.tokens_path is None:
        raise NotPermitted(
            f"Without tokens, the service is for this machine alone; {settings.host} can be reached from others.",
            why="Whoever reaches it could start jobs, read every text and promote models.",
            next_step="trainwright access add NAME --role viewer --tokens FILE; then serve with --tokens FILE",
        )


def bind(settings: Settings) -> socket.socket:
    """A socket that is bound and listens, so that who connects from now on is answered. Raises NotWritable."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise NotWritable(
            f"The service cannot have the address {settings.host}:{settings.port}.",
            why=f"The operating system said: {error.strerror}.",
            next_step="Choose another with --port (0: any free one), or end what holds it.",
        ) from None
    listener.listen(128)
    return listener


def name_address(settings: Settings, port: int) -> str:
    """The address as a browser takes it."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{port}"
