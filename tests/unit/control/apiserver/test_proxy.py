"""The proxy subresource, and every request that was recorded of unmodified clients."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from testbed.api.documents import Document
from tests.unit.control.apiserver.live import Live, NoPods, live_server

GOLDEN = Path(__file__).parents[3] / "golden"
DEFAULT = "/api/v1/namespaces/default"
ADDRESS = "10.244.1.3"


class Backend(NoPods):
    """Every port answers with the Pod's name, the request line and the body."""

    async def dial(
        self, pod: Document, port: int, address: str = ""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert address == "10.244.1.3"
        if port not in SERVED:
            raise ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 81)")
        secure = None
        if port == 8443:
            secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            secure.load_cert_chain(self.certificate, self.key)
        server = await asyncio.start_server(SERVED[port], "127.0.0.1", 0, ssl=secure)
        return await asyncio.open_connection(*server.sockets[0].getsockname()[:2])

    certificate = key = ""


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The request line, the host and the body."""
    head = await reader.readuntil(b"\r\n\r\n")
    size = re.search(rb"Content-Length: (\d+)", head)
    body = await reader.readexactly(int(size.group(1))) if size else b""
    host = re.search(rb"Host: (\S+)", head)
    assert host is not None
    text = b"|".join((host.group(1), head.split(b"\r\n")[0], body))
    writer.write(
        b"HTTP/1.1 202 Fine\r\nX-Own: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text)
    )
    await writer.drain()
    writer.close()


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers every piece of a body as it comes."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nready\n")
    while (line := await reader.readline()) and line != b"0\r\n":
        if line.strip().isalpha() and len(line) > 4:
            writer.write(b"heard " + line.strip() + b"\n")
    writer.close()


async def switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Leaves HTTP, and answers in capitals."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"Upgrade: shout" in head
    writer.write(b"HTTP/1.1 101 Shouting\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\nHI ")
    while data := await reader.read(100):
        writer.write(data.upper())
    writer.close()


async def long_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """70 KiB of headers, a redirect, and a body that ends with the connection."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 302 Found\r\nLocation: /there?x\r\n")
    writer.write(b"".join(b"X-%d: %b\r\n" % (n, b"v" * 1000) for n in range(70)))
    writer.write(b"\r\n" + b"z" * 100_000)
    writer.close()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    taken = writer.get_extra_info("socket")
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
    writer.transport.abort()


async def short(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says 10 bytes and sends 3."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    writer.close()


SERVED = {
    8080: answer,
    8081: converse,
    8082: switch,
    8083: long_headers,
    8084: silent,
    8085: short,
    8086: rude,
    8443: answer,
}


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    backend = Backend()
    with live_server(tmp_path, backend) as running:
        backend.certificate = str(tmp_path / "pki" / "client.crt")
        backend.key = str(tmp_path / "pki" / "client.key")
        pod = {
            "metadata": {"name": "p"},
            "spec": {
                "nodeName": "w1",
                "containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 8080}]}],
            },
        }
        service = {
            "metadata": {"name": "web"},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        }
        endpoints = {
            "metadata": {"name": "web-a", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "p"}},
                {
                    "addresses": ["10.0.0.2"],
                    "conditions": {"ready": False},
                    "targetRef": {"kind": "Pod", "name": "other"},
                },
            ],
        }
        slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        for path, document in (
            (f"{DEFAULT}/pods", pod),
            (f"{DEFAULT}/services", service),
            (slices, endpoints),
        ):
            assert running.call("POST", path, document).code == 201
        pod = {**running.call("GET", f"{DEFAULT}/pods/p").document, "status": {"podIP": ADDRESS}}
        pod["status"]["podIPs"] = [{"ip": ADDRESS}]
        reply = running.call("PUT", f"{DEFAULT}/pods/p/status", pod)
        assert reply.code == 200, reply.body
        yield running


@pytest.mark.parametrize(
    "name",
    ["pods/p", "pods/p:8080", "pods/http:p:8080", "services/web:80", "services/web:http"],
)
def test_a_request_reaches_the_pod_and_its_answer_comes_back(live: Live, name: str) -> None:
    reply = live.call("POST", f"{DEFAULT}/{name}/proxy/a/b?c=d", b"hello")
    assert (reply.code, reply.headers["X-Own"]) == (202, "1")
    assert reply.body == b"10.244.1.3:8080|POST /a/b?c=d HTTP/1.1|hello"


def test_https_reaches_a_pod_whatever_its_certificate(live: Live) -> None:
    reply = live.call("GET", f"{DEFAULT}/pods/https:p:8443/proxy/x")
    assert reply.body == b"10.244.1.3:8443|GET /x HTTP/1.1|"


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        (
            "pods/p:81",
            503,
            "error trying to reach service: dial tcp 10.244.1.3:81: connect: connection refused",
        ),
        ("pods/p:8084", 503, "error trying to reach service: EOF"),
        (
            "pods/p:8086",
            503,
            "error trying to reach service: read tcp 10.244.1.3:8086: read: connection reset by "
            "peer",
        ),
        ("pods/ftp:p:80", 400, 'invalid pod request "ftp:p:80"'),
        ("services/web:81", 503, 'no service port 81 found for service "web"'),
        ("services/web:dns", 503, 'no endpoints available for service "web"'),
        ("services/none", 404, 'services "none" not found'),
    ],
)
def test_what_cannot_be_reached_is_told_as_go_tells_it(
    live: Live, path: str, code: int, message: str
) -> None:
    reply = live.call("GET", f"{DEFAULT}/{path}/proxy/")
    assert (reply.code, reply.document["message"]) == (code, message)


def test_both_ways_flow_at_the_same_time(live: Live) -> None:
    async def talk() -> list[bytes]:
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        told = []

        async def body() -> AsyncGenerator[bytes, None]:
            for word in (b"first\n", b"second\n"):
                yield word
                told.append(await heard.get())  # the next one isn't sent before

        url = f"{live.server.url}{DEFAULT}/pods/p:8081/proxy/"
        headers = {"Authorization": f"Bearer {live.server.credentials.token}"}
        async with live.session.post(url, data=body(), headers=headers) as response:
            assert response.headers["Content-Type"] == "text/event-stream"
            async for line in response.content:
                heard.put_nowait(line)
        return [*told, heard.get_nowait()]

    told = live.run(asyncio.wait_for(talk(), 10))
    assert told == [b"ready\n", b"heard first\n", b"heard second\n"]


def test_a_connection_that_leaves_http_is_carried_on(live: Live) -> None:
    async def talk() -> tuple[bytes, bytes]:
        context = ssl.create_default_context(cadata=live.server.credentials.ca)
        reader, writer = await asyncio.open_connection("127.0.0.1", live.server.port, ssl=context)
        writer.write(
            f"GET {DEFAULT}/pods/p:8082/proxy/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            f"Upgrade: shout\r\nAuthorization: Bearer {live.server.credentials.token}\r\n\r\n"
            "".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"hello")
        said = await reader.readexactly(len(b"HI HELLO"))
        writer.close()
        return head, said

    head, said = live.run(asyncio.wait_for(talk(), 10))
    assert head.startswith(b"HTTP/1.1 101 ")
    assert said == b"HI HELLO"


def test_long_headers_and_bodies_without_a_length_arrive(live: Live) -> None:
    async def ask() -> tuple[int, str, int, int]:
        url = f"{live.server.url}{DEFAULT}/pods/p:8083/proxy/"
        headers = {"Authorization": f"Bearer {live.server.credentials.token}"}
        async with live.session.get(url, headers=headers, allow_redirects=False) as response:
            found = sum(name.startswith("X-") for name in response.headers)
            body = await response.read()
            return response.status, response.headers["Location"], found, len(body)

    location = f"{DEFAULT}/pods/p:8083/proxy/there?x"
    assert live.run(ask()) == (302, location, 70, 100_000)


def test_an_answer_that_breaks_off_breaks_off_for_the_client_too(live: Live) -> None:
    with pytest.raises(aiohttp.ClientError):
        live.call("GET", f"{DEFAULT}/pods/p:8085/proxy/")


@pytest.mark.parametrize("name", ["p", "%00%0d%0aX-Own:%201"])
def test_a_path_without_its_slash_is_sent_there_as_it_came(live: Live, name: str) -> None:
    async def ask() -> tuple[int, str]:
        url = URL(f"{live.server.url}{DEFAULT}/pods/{name}/proxy?a=%0a", encoded=True)
        headers = {"Authorization": f"Bearer {live.server.credentials.token}"}
        async with live.session.get(url, headers=headers, allow_redirects=False) as response:
            return response.status, response.headers["Location"]

    assert live.run(ask()) == (301, f"{DEFAULT}/pods/{name}/proxy/?a=%0a")


def recorded() -> list[tuple[str, str]]:
    """The GET requests of unmodified clients: path, Accept header."""
    text = (GOLDEN / "client-requests.txt").read_text()
    found = re.findall(r"^GET (\S+)\n    (?:Accept: )?([^|\n]*)", text, re.MULTILINE)
    return sorted({(path, accept.strip()) for path, accept in found})


@pytest.mark.parametrize(("path", "accept"), recorded())
def test_every_recorded_request_is_understood(live: Live, path: str, accept: str) -> None:
    for pattern, value in (
        (r"timeoutSeconds=<n>", "timeoutSeconds=1"),
        (r"timeout=<t>", "timeout=1s"),
        (r"resourceVersion=<n>", f"resourceVersion={live.registry.store.version}"),
    ):
        path = re.sub(pattern, value, path)
    named = re.search(r"/(pods|services|deployments)/[^/?]+", path)

    async def ask() -> tuple[int, str, bytes]:
        """Status, type and, of what was refused, the words: a watch isn't read to its end."""
        headers = {"Authorization": f"Bearer {live.server.credentials.token}"}
        if accept:
            headers["Accept"] = accept
        async with live.session.get(live.server.url + path, headers=headers) as response:
            words = b"" if response.ok else await response.read()
            return response.status, response.headers["Content-Type"], words

    status, kind, words = live.run(ask())
    assert status == (404 if named else 200), words
    assert kind.startswith("application/json")
