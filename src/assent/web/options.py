"""Where the server listens and who may reach it; a public address without protection is refused."""

import ipaddress
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from assent.config.files import disk_errors
from assent.errors import ConfigError

DEFAULT_PORT: Final = 8420
SECRET_VARIABLE: Final = "ASSENT_SECRET"  # noqa: S105 - a name, not a secret
SECRET_FILE: Final = ".serve-secret"  # noqa: S105 - a name, not a secret
SHORTEST_SECRET: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Checked: anything but loopback has a secret of its own and TLS.

    Make one with `serve_options`.
    """

    host: str
    port: int
    base_url: str
    """What people type, such as `http://127.0.0.1:8420`; links begin with it."""
    hosts: frozenset[str]
    """Names that a Host header may have, without the port."""
    secret: bytes
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def secure(self) -> bool:
        """Whether browsers reach the server over TLS."""
        return self.base_url.startswith("https://")


def serve_options(
    root: Path,
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    public_url: str | None = None,
) -> ServeOptions:
    """The options, if they are safe together.

    Args:
        root: the project folder; on loopback its secret is made there once.
        host: the address to listen on.
        port: the port to listen on.
        tls_cert: certificate chain, PEM.
        tls_key: its private key, PEM.
        public_url: what people type where that is not the address itself, such as behind a proxy.

    Raises:
        ConfigError: an address that others can reach has no secret or no TLS, or something does
            not fit; the line says what to give.
        DiskFull, StoreError: the secret of a loopback server cannot be written.
    """
    if (tls_cert is None) != (tls_key is None):
        message = "--tls-cert and --tls-key belong together; give both"
        raise ConfigError(message)
    for file in (tls_cert, tls_key):
        if file is not None and not file.is_file():
            message = f"{file} is not a file"
            raise ConfigError(message)
    public = None if public_url is None else _public(public_url)
    loopback = _is_loopback(host)
    has_tls = tls_cert is not None or (public is not None and public.startswith("https://"))
    if not loopback or (public is not None and not _is_loopback(urlsplit(public).hostname or "")):
        _require_protected(host, has_tls=has_tls)
    if not loopback and public is None and _is_wildcard(host):
        message = (
            f"--host {host} listens on every address; add --public-url https://NAME, so that only "
            "requests for that name are answered"
        )
        raise ConfigError(message)
    scheme = "https" if tls_cert is not None else "http"
    shown_host = f"[{host}]" if ":" in host else host
    base = public or f"{scheme}://{shown_host}:{port}"
    names = {(urlsplit(base).hostname or "").lower(), host.lower()}
    if loopback:
        names |= {"localhost", "127.0.0.1", "::1"}
    return ServeOptions(
        host=host,
        port=port,
        base_url=base,
        hosts=frozenset(names),
        secret=_secret(root, loopback=loopback),
        tls_cert=tls_cert,
        tls_key=tls_key,
    )


def _require_protected(host: str, *, has_tls: bool) -> None:
    problems = []
    if len(os.environ.get(SECRET_VARIABLE, "")) < SHORTEST_SECRET:
        problems.append(
            f"set {SECRET_VARIABLE} to a secret of {SHORTEST_SECRET} characters or more "
            f"({SECRET_VARIABLE}=$(openssl rand -hex 32))"
        )
    if not has_tls:
        problems.append(
            "add --tls-cert FILE --tls-key FILE, or --public-url https://NAME when a proxy ends TLS"
        )
    if problems:
        message = f"{host} can be reached by others: {'; and '.join(problems)}"
        raise ConfigError(message)


def _secret(root: Path, *, loopback: bool) -> bytes:
    given = os.environ.get(SECRET_VARIABLE)
    if given:
        if len(given) < SHORTEST_SECRET:
            message = (
                f"{SECRET_VARIABLE} has {len(given)} characters; use {SHORTEST_SECRET} or more"
            )
            raise ConfigError(message)
        return given.encode()
    assert loopback
    file = root / SECRET_FILE
    with disk_errors(f"writing {file}"):
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(descriptor, "w", encoding="ascii") as out:
                out.write(secrets.token_hex(32))
                out.flush()
                os.fsync(out.fileno())
        found = file.read_text(encoding="ascii", errors="replace").strip()
    if len(found) < SHORTEST_SECRET:
        message = f"{file} holds no secret; delete it, and the next start makes a new one"
        raise ConfigError(message)
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        message = f"{file} can be read by others; run: chmod 600 {file}"
        raise ConfigError(message)
    return found.encode()


def _public(url: str) -> str:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises where the port is no number
    except ValueError as error:
        message = f"--public-url {url}: {error}; write https://NAME"
        raise ConfigError(message) from error
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
        or parts.username is not None
    ):
        message = f"--public-url {url}: write https://NAME, without a path"
        raise ConfigError(message)
    return f"{parts.scheme}://{parts.netloc}"


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return host == ""
