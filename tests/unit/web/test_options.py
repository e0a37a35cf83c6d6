"""Where a server may listen: loopback as it is, anything else only with a secret and TLS."""

from itertools import pairwise
from pathlib import Path

import pytest

from assent.errors import ConfigError, DataError, TooManyAttempts
from assent.web.guarding import hostname
from assent.web.options import serve_options
from assent.web.passwords import Passwords, Throttle

SECRET = "s" * 32
EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing listens there in these tests


@pytest.fixture(autouse=True)
def _no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASSENT_SECRET", raising=False)


def test_loopback_needs_nothing_and_keeps_its_secret(tmp_path: Path) -> None:
    first = serve_options(tmp_path)
    assert first.base_url == "http://127.0.0.1:8420"
    assert first.hosts >= {"127.0.0.1", "localhost", "::1"}
    assert not first.secure
    assert serve_options(tmp_path).secret == first.secret
    assert serve_options(tmp_path, host="::1", port=1).base_url == "http://[::1]:1"
    other = tmp_path / "other"
    other.mkdir()
    assert serve_options(other).secret != first.secret


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "192.0.2.1", "lab.example", ""])
def test_any_other_address_says_what_it_needs(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"ASSENT_SECRET.*--tls-cert"):
        serve_options(tmp_path, host=host)
    monkeypatch.setenv("ASSENT_SECRET", SECRET)
    with pytest.raises(ConfigError, match="--tls-cert FILE --tls-key FILE"):
        serve_options(tmp_path, host=host)
    with pytest.raises(ConfigError, match="--tls-cert"):
        serve_options(tmp_path, host=host, public_url="http://lab.example")
    monkeypatch.delenv("ASSENT_SECRET")
    with pytest.raises(ConfigError, match="set ASSENT_SECRET"):
        serve_options(tmp_path, host=host, public_url="https://lab.example")
    monkeypatch.setenv("ASSENT_SECRET", "changeme")
    with pytest.raises(ConfigError, match="32 characters"):
        serve_options(tmp_path, host=host, public_url="https://lab.example")
    assert list(tmp_path.iterdir()) == []


def test_a_public_address_with_a_secret_and_tls_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSENT_SECRET", SECRET)
    options = serve_options(tmp_path, host=EVERYWHERE, public_url="https://lab.example/")
    assert (options.base_url, options.secure) == ("https://lab.example", True)
    assert options.hosts == {"lab.example", EVERYWHERE}
    assert options.secret == SECRET.encode()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    for file in (cert, key):
        file.write_text("pem")
    own = serve_options(tmp_path, host="lab.example", port=443, tls_cert=cert, tls_key=key)
    assert own.base_url == "https://lab.example:443"
    with pytest.raises(ConfigError, match="add --public-url"):
        serve_options(tmp_path, host=EVERYWHERE, tls_cert=cert, tls_key=key)
    with pytest.raises(ConfigError, match="belong together"):
        serve_options(tmp_path, host="lab.example", tls_cert=cert)
    with pytest.raises(ConfigError, match="is not a file"):
        serve_options(tmp_path, tls_cert=cert, tls_key=tmp_path / "missing.pem")


def test_a_proxy_on_the_same_machine_needs_a_secret_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="set ASSENT_SECRET"):
        serve_options(tmp_path, public_url="https://lab.example")
    monkeypatch.setenv("ASSENT_SECRET", SECRET)
    assert serve_options(tmp_path, public_url="https://lab.example").secure


@pytest.mark.parametrize(
    "url",
    ["lab.example", "ftp://lab.example", "https://", "https://lab.example/path",
     "https://a:b@lab.example", "https://lab.example:port", "https://lab.example/?q"],
)  # fmt: skip
def test_a_public_url_is_a_name_and_nothing_more(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--public-url"):
        serve_options(tmp_path, public_url=url)


def test_a_secret_that_others_can_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    serve_options(tmp_path)
    secret = tmp_path / ".serve-secret"
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        serve_options(tmp_path)
    secret.chmod(0o600)
    secret.write_text("")
    with pytest.raises(ConfigError, match="holds no secret"):
        serve_options(tmp_path)


def test_a_host_header_is_read_without_its_port() -> None:
    found = [hostname(host) for host in ("a.b:80", "A.B", "[::1]:80", "[::1]", "::1", "")]
    assert found == ["a.b", "a.b", "::1", "::1", "::1", ""]


def test_waiting_doubles_with_each_wrong_password_and_one_name_does_not_stop_another() -> None:
    moment = 0.0
    throttle = Throttle(lambda: moment)
    waits = []
    for _ in range(9):
        while True:
            try:
                throttle.require_free("Ada")
            except TooManyAttempts:
                moment += 1
            else:
                break
        waits.append(moment)
        throttle.failed("ada")
    assert waits[:5] == [0.0] * 5
    assert [b - a for a, b in pairwise(waits[4:])] == [1, 2, 4, 8]
    throttle.require_free("bo")
    with pytest.raises(TooManyAttempts, match="wait 16 seconds"):
        throttle.require_free("ADA")
    throttle.passed("ada")
    throttle.require_free("ada")


def test_one_password_tried_on_many_names_stops_everybody_for_a_minute() -> None:
    moment = 0.0
    throttle = Throttle(lambda: moment)
    for number in range(60):
        throttle.require_free(f"name {number}")
        throttle.failed(f"name {number}")
    with pytest.raises(TooManyAttempts):
        throttle.require_free("anybody")
    moment = 61.0
    throttle.require_free("anybody")


def test_passwords_are_argon2id_and_nobody_has_one_that_was_not_set() -> None:
    passwords = Passwords()
    stored = passwords.hash("correct horse battery")
    assert stored.startswith("$argon2id$")
    assert passwords.fits(stored, "correct horse battery")
    assert not passwords.fits(stored, "correct horse batterz")
    assert not passwords.fits(None, "nobody has this password")
    assert not passwords.fits("not a hash", "correct horse battery")
    for wrong in ("short", "x" * 201, "half a character \ud800"):
        with pytest.raises(DataError):
            passwords.hash(wrong)
