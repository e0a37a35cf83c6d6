"""Addresses of servers in settings: http or https, and nothing secret in them."""

import re
from urllib.parse import urlsplit


def require_address(url: str, example: str) -> str:
    """The address as it is.

    Raises:
        ValueError: it is no http or https address, or holds a password or white space.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        message = f"give an http or https address, such as {example}"
        raise ValueError(message)
    if parts.username is not None or parts.password is not None:
        message = "no user and password in an address; name a token_variable instead"
        raise ValueError(message)
    if re.search(r"[\s\x00-\x1f]", url):
        message = "an address holds no white space"
        raise ValueError(message)
    return url
