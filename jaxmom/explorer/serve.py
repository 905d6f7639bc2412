"""A server of the explorer and of the playground, for this machine alone."""

import socket
from collections.abc import Callable
from typing import Any

ADDRESS = "127.0.0.1"  # only this machine: an app shows the files of the user who started it


def find_port(port: int) -> int:
    """Return the port to listen on: the given one, or a free one if it is 0.

    Raises:
      ValueError: Something else listens on it already, or it is no port.

    Example:
      >>> find_port(70000)
      Traceback (most recent call last):
      ...
      ValueError: a port is a number from 0 to 65535, not 70000; 0 takes any free one.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"a port is a number from 0 to 65535, not {port}; 0 takes any free one.")
    with socket.socket() as probe:
        # As Tornado does, so that a port that has just been closed counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise ValueError(
                f"port {port} of {ADDRESS} cannot be used ({error.strerror}); choose another one "
                "with --port, or --port 0 for any free one."
            ) from None
        return int(probe.getsockname()[1])


def serve(make: Callable[[], Any], title: str, *, port: int, browser: bool) -> None:
    """Serve an app until Ctrl-C, to browsers of this machine only.

    Args:
      make: Returns the app, a new one for each browser tab.
      title: Of the page.
      port: Where to listen; 0 takes any free port.
      browser: Whether to open a browser. Where there is none, the address is printed all the same.

    Raises:
      ValueError: The port is busy.
    """
    import panel as pn

    port = find_port(port)
    names = [f"{ADDRESS}:{port}", f"localhost:{port}"]
    options: dict[str, Any] = {"show": False, "start": False, "verbose": False}
    server: Any = pn.serve(
        make, port=port, address=ADDRESS, websocket_origin=names, title=title, **options
    )
    address = f"http://{ADDRESS}:{port}/"
    print(f"{title}: {address} (this machine only; Ctrl-C ends it)", flush=True)
    if browser:
        _open_browser(address)
    server.start()
    try:
        server.io_loop.start()
    except KeyboardInterrupt:
        server.stop()


def _open_browser(address: str) -> None:
    """Open a browser, or say that there is none."""
    import webbrowser

    if not webbrowser.open(address):
        print(f"there is no browser here that can be opened; open {address} in one", flush=True)
