import asyncio
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from boxwright.inputs.download import MAX_REDIRECTS, download, is_url
from boxwright.runtime import PictureError
from support.web import web_server

CHAIN = {f"/{n}": f"/{n - 1}" for n in range(1, MAX_REDIRECTS + 2)}
MOVED = {
    **CHAIN,
    "/loop": "/loop",
    "/away": "file:///etc/hostname",
    "/ftp": "ftp://127.0.0.1/a.jpg",
    "/data": "data:image/png;base64,",
    "/nowhere": "",
    "/space": "/a b.jpg",
    "/umlaut": "/\N{LATIN SMALL LETTER U WITH DIAERESIS}.jpg".encode().decode("iso-8859-1"),
    "/broken": "http://[x",
}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def web():
    files = {"/0": b"at last", "/long": b"x" * 1000, "/drip": None, "/a%20b.jpg": b"a b", "/%C3%BC.jpg": b"u"}
    with web_server(files, MOVED) as (address, _):
        yield address


def test_httpx_is_loaded_with_the_first_request():
    code = "import sys, boxwright.inputs, boxwright.parity.clients; print('httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_file_arrives_whole(web):
    assert download(f"{web}/long") == b"x" * 1000


@pytest.mark.parametrize("name", ["/a b.jpg", "/a%20b.jpg", "/space"])
def test_spaces_are_quoted_once(web, name):
    assert download(web + name) == b"a b"


def test_redirects_are_followed_up_to_a_number(web):
    assert download(f"{web}/{MAX_REDIRECTS}") == b"at last"
    with pytest.raises(PictureError, match="more than 5 redirects"):
        download(f"{web}/{MAX_REDIRECTS + 1}")


@pytest.mark.parametrize("name", ["away", "ftp", "data"])
def test_redirects_lead_to_the_web_only(web, name):
    with pytest.raises(PictureError, match=rf"/{name}' leads to '.*', which is not on the web"):
        download(f"{web}/{name}")


def test_the_limit_is_of_bytes(web):
    assert len(download(f"{web}/long", max_bytes=1000)) == 1000
    with pytest.raises(PictureError, match="larger than 999 bytes"):
        download(f"{web}/long", max_bytes=999)


def test_a_slow_file_is_given_up(web):
    with pytest.raises(PictureError, match=r"/drip' cannot be fetched: (it takes too long|timed out)"):
        download(f"{web}/drip", seconds=0.3)


def test_a_silent_server_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.jpg"
        with pytest.raises(PictureError, match=r"a\.jpg' cannot be fetched: timed out"):
            download(url, seconds=0.3)


@pytest.mark.parametrize("said", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: ", b"x"])
def test_an_answer_that_never_begins_is_given_up(said):
    """Each byte is a sign of life, and none is the last of the headers."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        pool.submit(_talk, server, said)
        started = time.monotonic()
        with pytest.raises(PictureError, match=r"a\.jpg' cannot be fetched"):
            download(f"http://127.0.0.1:{server.getsockname()[1]}/a.jpg", seconds=0.5)
        assert time.monotonic() - started < 5


def _talk(server, said):
    connection, _ = server.accept()
    with connection, suppress(OSError):
        for _ in range(1000):
            connection.sendall(said)
            time.sleep(0.02)


def test_proxies_are_those_of_the_environment(monkeypatch):
    """The proxy sees the whole URL; hosts that it is not for are asked themselves."""
    with web_server({"http://far.invalid/a.jpg": b"through", "/a.jpg": b"straight"}) as (address, asked):
        monkeypatch.setenv("http_proxy", address.removeprefix("http://"))
        monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")  # urllib does not read it either
        assert download("http://far.invalid/a.jpg") == b"through"
        assert download(f"{address}/a.jpg") == b"straight"
        assert asked == ["http://far.invalid/a.jpg", "/a.jpg"]
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")
        with pytest.raises(PictureError, match=r"proxy 'socks5://127\.0\.0\.1:9' cannot be used"):
            download("http://far.invalid/a.jpg")


def test_it_works_beside_a_running_event_loop(web):
    async def fetch():
        return download(f"{web}/0")

    assert asyncio.run(fetch()) == b"at last"


def test_redirects_that_are_no_url_or_have_no_ascii(web):
    assert download(f"{web}/umlaut") == b"u"
    with pytest.raises(PictureError, match=r"it leads to 'http://\[x', which is not a URL"):
        download(f"{web}/broken")
    with pytest.raises(PictureError, match="cannot be fetched: Invalid IPv6 URL"):
        download("http://[::1/a.jpg")


def test_an_answer_that_is_no_http_is_an_error():
    with web_server({}) as (address, _), pytest.raises(PictureError, match="cannot be fetched"):
        download(address.replace("http:", "https:"))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("{web}/none", "the server answered 404 Not Found"),
        ("{web}/nowhere", "the server answered 302 Found"),
        ("{web}/loop", "more than 5 redirects"),
        ("http:///a.jpg", "no host given"),
        ("http://127.0.0.1:x/a.jpg", "nonnumeric port"),
        ("http://[::1/a.jpg", "cannot be fetched"),
        (f"http://{'a' * 70}.invalid/a.jpg", "cannot be fetched"),
        ("{web}/a\nb.jpg", "the server answered 404"),
        ("file:///etc/hostname", "is not on the web"),
        ("a.jpg", "is not on the web"),
    ],
)
def test_what_cannot_be_fetched_is_one_sentence(web, url, reason):
    with pytest.raises(PictureError, match=reason) as caught:
        download(url.format(web=web))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["http://a/b.jpg", "HTTPS://a", "ftp://a/b", "rtsp://a"])
def test_urls_are_known_by_their_scheme(text):
    assert is_url(text)


@pytest.mark.parametrize("source", ["a.jpg", "C:/a.jpg", "a/http://b", "", b"http://a", None])
def test_all_else_is_no_url(source):
    assert not is_url(source)
