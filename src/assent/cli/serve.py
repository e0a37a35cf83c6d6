"""`assent serve`: let people judge, and look at what they said, in the browser."""

import errno
import socket
from pathlib import Path
from typing import Annotated

import typer

from assent.cli.options import AsJson, ProjectFolder
from assent.cli.output import print_json
from assent.errors import ConfigError


def serve(
    project: ProjectFolder,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than loopback need TLS.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8420,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate chain, PEM.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, PEM.")] = None,
    public_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="What people type, where a proxy ends TLS."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Serve labelling and dashboards until Ctrl-C; prints a link that lets the owner in once."""
    from assent.store import Project
    from assent.web.app import serve as run
    from assent.web.opening import owner_link, project_app, serving, settings_of
    from assent.web.options import serve_options

    with Project.open(project) as opened:
        options = serve_options(
            opened.root,
            host=host,
            port=port,
            tls_cert=tls_cert,
            tls_key=tls_key,
            public_url=public_url,
        )
        with _listening(host, port) as sock:
            if port == 0:
                options = serve_options(
                    opened.root,
                    host=host,
                    port=sock.getsockname()[1],
                    tls_cert=tls_cert,
                    tls_key=tls_key,
                    public_url=public_url,
                )
            with serving(opened.root, options.base_url):
                days = settings_of(opened).labelling.invitation_days
                app = project_app(opened, options)
                link = owner_link(opened, options.base_url, days)
                _say(options.base_url, link, as_json=as_json)
                run(app, options, sock)
    if not as_json:
        typer.echo("stopped; every answer that was acknowledged is stored", err=True)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: the address is taken, not ours, or no address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        message = f"--host {host}: {error.strerror}"
        raise ConfigError(message) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(128)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            message = (
                f"port {port} is taken; choose another with --port, or --port 0 for a free one"
            )
        else:
            message = f"cannot listen on {host}, port {port}: {error.strerror}"
        raise ConfigError(message) from error
    return sock


def _say(base_url: str, link: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"url": base_url, "owner_link": link})
        return
    typer.echo(f"serving at {base_url} (Ctrl-C stops it)")
    typer.echo(f"you, once: {link}")
    typer.echo("others: assent annotators add DIR NAME, or the page People")
