"""What users name is reached only where it is public, and only for so long."""

import json
import ssl
import subprocess
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from app.outbound import post, targets
from app.outbound.addresses import is_public
from app.outbound.post import Poster
from app.outbound.targets import UnsafeTarget, read_target
from tests.unit.app.receiver import Listener, Receiver, listen, receive

LOOPBACK = [ip_network("127.0.0.1/32")]
HOST = "hooks.example.com"

_LISTS = json.loads(Path(__file__).with_name("hostile_targets.json").read_text())
NAMES: dict[str, list[str]] = _LISTS["names"]
INSIDE: list[str] = [*_LISTS["inside_v4"], *_LISTS["inside_v6"]]
HOSTILE = [
    *(f"https://{host}:PORT/" for host in (*_LISTS["inside_v4"], *_LISTS["odd_hosts"])),
    *(f"https://[{host}]:PORT/" for host in _LISTS["inside_v6"]),
    *(f"https://{spelt}:PORT/" for name in NAMES for spelt in (name, name.upper())),
    *_LISTS["whole_urls"],
]


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """Listen on a port that targets may name, so that it is not the port that refuses them."""
    with listen() as listening:
        monkeypatch.setattr(targets, "PUBLIC_PORTS", (443, listening.port))
        yield listening


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receive() as receiving:
        yield receiving


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a key and a certificate for ``HOST``, signed by itself."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    options = ["-nodes", "-days", "2", "-subj", f"/CN={HOST}"]
    extensions = ["-addext", f"subjectAltName=DNS:{HOST}"]
    places = ["-keyout", str(path.with_name("key.pem")), "-out", str(path.with_name("crt.pem"))]
    subprocess.run([*command, *options, *extensions, *places], check=True, capture_output=True)
    path.write_text(path.with_name("key.pem").read_text() + path.with_name("crt.pem").read_text())
    return path


def resolve(host: str, _port: int) -> list[str]:
    """Stand in for the system's resolver, at the one place where names are resolved."""
    return NAMES[host]


def test_there_are_more_than_two_hundred_hostile_targets() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) > 200


def test_no_hostile_target_is_connected_to(listener: Listener) -> None:
    poster = Poster(resolve=resolve)
    for url in HOSTILE:
        reply = poster.post(url.replace("PORT", str(listener.port)), {}, b"{}")
        assert reply.status is None, url
        assert (reply.error or "").startswith("refused: "), (url, reply.error)
        assert "127.0.0.1" not in (reply.error or ""), url
    time.sleep(0.1)
    assert listener.num_connections == 0


def test_the_same_port_is_connected_to_where_the_operator_allows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poster = Poster(LOOPBACK, resolve=resolve)
    with listen(b"no TLS", every_seconds=0.01) as listener:
        monkeypatch.setattr(targets, "PUBLIC_PORTS", (443, listener.port))
        for host in ("127.0.0.1", "loopback.example"):
            reply = poster.post(f"https://{host}:{listener.port}/", {}, b"{}")
            assert (reply.error or "").startswith("TLS failed"), reply
        assert listener.num_connections == 2


def test_what_an_operator_allows_opens_nothing_else() -> None:
    for host in set(INSIDE) - {"127.0.0.1"}:
        written = f"[{host}]" if ":" in host else host
        with pytest.raises(UnsafeTarget):
            read_target(f"https://{written}/", LOOPBACK)
    with pytest.raises(UnsafeTarget, match="expected https"):
        read_target("http://8.8.8.8/", LOOPBACK)
    with pytest.raises(UnsafeTarget, match="expected 443 or 8443"):
        read_target("https://8.8.8.8:8080/", LOOPBACK)
    reply = Poster(LOOPBACK, resolve=lambda *_: ["127.0.0.1", "10.0.0.1"])
    assert "public" in (reply.post("http://both.example/", {}, b"").error or "")


@pytest.mark.parametrize("address", INSIDE)
def test_an_inside_address_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2a00::1"]
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("https://hooks.example.com", "hooks.example.com", "/"),
        ("https://Hooks.Example.com:8443/a?b=%20c", "hooks.example.com:8443", "/a?b=%20c"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", "/"),
        ("https://8.8.8.8:443/x", "8.8.8.8", "/x"),
        ("https://[2606:4700:0::1111]:8443/", "[2606:4700::1111]:8443", "/"),
    ],
)
def test_a_public_target_is_read(url: str, authority: str, path: str) -> None:
    target = read_target(url, [])
    assert (target.authority, target.path) == (authority, path)


def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_checked(
    receiver: Receiver,
) -> None:
    asked: list[str] = []

    def rebinding(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    poster = Poster(LOOPBACK, resolve=rebinding)
    url = f"http://rebinding.example:{receiver.port}/hook?x=1"
    reply = poster.post(url, {"X-A": "b"}, b"{}")

    assert (reply.status, reply.error, asked) == (204, None, ["rebinding.example"])
    (got,) = receiver.received
    assert (got.path, got.body, got.headers["X-A"]) == ("/hook?x=1", b"{}", "b")
    assert got.headers["Host"] == f"rebinding.example:{receiver.port}"
    # The next attempt asks again, and is refused.
    assert "public" in (poster.post(url, {}, b"{}").error or "")
    assert len(receiver.received) == 1


def test_tls_is_for_the_name_though_the_connection_is_to_the_address(certificate: Path) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    seen: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: seen.append(name)
    trusting = ssl.create_default_context(cafile=certificate.with_name("crt.pem"))

    def resolve_any(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    with receive(server) as receiver:
        poster = Poster(LOOPBACK, resolve=resolve_any, tls=trusting)
        assert poster.post(f"https://{HOST}:{receiver.port}/", {}, b"{}").status == 204
        other = poster.post(f"https://other.example.com:{receiver.port}/", {}, b"{}")
        untrusting = Poster(LOOPBACK, resolve=resolve_any)
        unknown = untrusting.post(f"https://{HOST}:{receiver.port}/", {}, b"{}")

    assert seen[0] == HOST
    assert receiver.received[0].headers["Host"] == f"{HOST}:{receiver.port}"
    assert (other.status, unknown.status, len(receiver.received)) == (None, None, 1)
    assert (other.error or "").startswith("TLS failed: Hostname mismatch")
    assert (unknown.error or "").startswith("TLS failed: self-signed certificate")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location", ["http://169.254.169.254/latest/meta-data/", "http://127.0.0.1:PORT/", "//[::1]/x"]
)
def test_a_redirect_is_not_followed(
    receiver: Receiver, listener: Listener, status: int, location: str
) -> None:
    receiver.status = status
    receiver.headers = {"Location": location.replace("PORT", str(listener.port))}
    assert Poster(LOOPBACK).post(receiver.url, {}, b"{}").status == status
    assert (len(receiver.received), listener.num_connections) == (1, 0)


def test_a_proxy_of_the_environment_is_not_used(
    receiver: Receiver, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listener.port}")
    assert Poster(LOOPBACK).post(receiver.url, {}, b"{}").status == 204
    assert listener.num_connections == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"H",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: 1\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nslow",
    ],
    ids=["says nothing", "one letter", "continue for ever", "headers without end", "drips"],
)
def test_an_answer_that_drips_ends_with_the_time_allowed(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post, "TOTAL_SECONDS", 0.5)
    with listen(sent, every_seconds=0.05) as listener:
        reply = Poster(LOOPBACK).post(f"http://127.0.0.1:{listener.port}/", {}, b"{}")
    assert reply.status is None
    assert reply.error is not None
    assert reply.seconds < 30


def test_no_more_than_64_kib_of_an_answer_are_read_and_one_is_kept(receiver: Receiver) -> None:
    receiver.status, receiver.answer = 200, b"a\0\xff" + b"x" * 50_000_000
    reply = Poster(LOOPBACK).post(receiver.url, {}, b"{}")
    assert (reply.status, reply.error) == (200, None)
    assert reply.answer is not None
    assert reply.answer.startswith("a\ufffd\ufffdx")
    assert len(reply.answer) == 1024


@pytest.mark.parametrize(
    ("sent", "says"),
    [(b"SSH-2.0-x\r\n\r\n", "not HTTP"), (b"\x15\x03\x01\x00\x02\x02\x28", "not HTTP")],
)
def test_what_does_not_speak_http_is_said_so(sent: bytes, says: str) -> None:
    with listen(sent, every_seconds=0.01) as listener:
        reply = Poster(LOOPBACK).post(f"http://127.0.0.1:{listener.port}/", {}, b"{}")
    assert says in (reply.error or "")


@pytest.mark.allow_hosts(["127.0.0.1", "127.0.0.2"])
def test_a_closed_port_a_second_address_and_an_unknown_name(receiver: Receiver) -> None:
    with listen() as listener:
        closed = listener.port
    reply = Poster(LOOPBACK).post(f"http://127.0.0.1:{closed}/", {}, b"{}")
    assert reply.error == "the host does not take the connection"

    networks = [ip_network("127.0.0.0/8")]
    two = Poster(networks, resolve=lambda *_: ["127.0.0.2", "127.0.0.1"])
    assert two.post(f"http://two.example:{receiver.port}/", {}, b"{}").status == 204

    def unknown(host: str, _port: int) -> list[str]:
        raise OSError(host)

    reply = Poster(resolve=unknown).post("https://nowhere.example/", {}, b"{}")
    assert "does not resolve" in (reply.error or "")


def test_the_system_s_resolver_gives_each_address_once() -> None:
    assert targets.system_resolve("127.0.0.1", 443) == ["127.0.0.1"]
    assert "127.0.0.1" in targets.system_resolve("localhost", 443)
