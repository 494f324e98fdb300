"""The proxy subresource, and every request that was recorded of unmodified clients."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path

import pytest
from yarl import URL

from testbed.api.documents import Document, name_of
from testbed.control.apiserver.pods import LogOptions, Streams
from tests.unit.control.apiserver.live import Live, live_server

GOLDEN = Path(__file__).parents[3] / "golden"
DEFAULT = "/api/v1/namespaces/default"


class Backend:
    """Every port answers with the Pod's name, the request line and the body."""

    def logs(
        self, pod: Document, container: str, options: LogOptions
    ) -> AsyncGenerator[bytes, None]:
        raise AssertionError("not asked for")

    async def execute(
        self,
        pod: Document,
        container: str,
        command: Sequence[str],
        streams: Streams,
        *,
        tty: bool,
        stdin: bool,
    ) -> int:
        raise AssertionError("not asked for")

    async def attach(
        self, pod: Document, container: str, streams: Streams, *, tty: bool, stdin: bool
    ) -> int:
        raise AssertionError("not asked for")

    async def dial(
        self, pod: Document, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if port != 8080:
            raise ConnectionRefusedError("connection refused")

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            size = re.search(rb"Content-Length: (\d+)", head)
            body = await reader.readexactly(int(size.group(1))) if size else b""
            text = b"|".join((name_of(pod).encode(), head.split(b"\r\n")[0], body))
            writer.write(
                b"HTTP/1.1 202 Fine\r\nX-Own: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
                + b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text)
            )
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        return await asyncio.open_connection(*server.sockets[0].getsockname()[:2])


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with live_server(tmp_path, Backend()) as running:
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
        yield running


@pytest.mark.parametrize(
    "name", ["pods/p", "pods/p:8080", "pods/http:p:8080", "services/web", "services/web:http"]
)
def test_a_request_reaches_the_pod_and_its_answer_comes_back(live: Live, name: str) -> None:
    reply = live.call("POST", f"{DEFAULT}/{name}/proxy/a/b?c=d", b"hello")
    assert (reply.code, reply.headers["X-Own"]) == (202, "1")
    assert reply.body == b"p|POST /a/b?c=d HTTP/1.1|hello"


def test_what_cannot_be_reached_is_unavailable(live: Live) -> None:
    assert live.call("GET", f"{DEFAULT}/pods/p:81/proxy/").code == 503
    assert live.call("GET", f"{DEFAULT}/services/web:dns/proxy/").code == 503
    assert live.call("GET", f"{DEFAULT}/services/none/proxy/").code == 404


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
