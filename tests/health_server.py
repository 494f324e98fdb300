"""A gRPC health server for tests, on h2: what a probe meets in a container."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, StreamEnded

Headers = Sequence[tuple[str, str]]
OK: Headers = (("grpc-status", "0"),)


def answer(status: int) -> bytes:
    """A HealthCheckResponse in gRPC's frame."""
    message = bytes((8, status)) if status else b""
    return b"\0" + len(message).to_bytes(4, "big") + message


class HealthServer:
    """Answers every call with `data` and `trailers`, or with `refusal` alone; never, if `silent`.

    `asked` are the bodies of the calls.
    """

    def __init__(
        self,
        listener: socket.socket,
        data: bytes = answer(1),
        trailers: Headers = OK,
        *,
        refusal: Headers = (),
        silent: bool = False,
    ) -> None:
        self.data, self.trailers, self.refusal = data, trailers, refusal
        self.silent = silent
        self.asked: list[bytes] = []
        self._listener = listener
        listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        http.initiate_connection()
        connection.sendall(http.data_to_send())
        body = b""
        while data := connection.recv(65536):
            for event in http.receive_data(data):
                if isinstance(event, DataReceived):
                    body += event.data or b""
                elif isinstance(event, StreamEnded) and not self.silent:
                    self.asked.append(body)
                    self._reply(http, event.stream_id or 0)
            connection.sendall(http.data_to_send())

    def _reply(self, http: H2Connection, stream: int) -> None:
        if self.refusal:
            http.send_headers(stream, list(self.refusal), end_stream=True)
            return
        http.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        http.send_data(stream, self.data)
        http.send_headers(stream, list(self.trailers), end_stream=True)
