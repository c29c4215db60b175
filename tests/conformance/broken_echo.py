"""A proxy that breaks a server on purpose: what a gate is worth shows when it does not open.

It cuts the last byte off every text message that is longer than a control frame may be, and changes
nothing else.
"""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

TEXT = 0x81
LEFT_ALONE_BYTES = 125
# What a case of the suite may take; afterwards nobody is interested any more.
LIMIT_SECONDS = 60


@contextmanager
def broken_echo(port: int) -> Iterator[int]:
    """The port of a proxy to `port`, while it runs."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(LIMIT_SECONDS)
            with socket.create_connection(("127.0.0.1", port), LIMIT_SECONDS) as server:
                relay(self.request, server)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as proxy:
        proxy.daemon_threads = True
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy.server_address[1]
        finally:
            proxy.shutdown()
            thread.join()


def relay(client: socket.socket, server: socket.socket) -> None:
    upwards = threading.Thread(target=pump, args=(client, server), daemon=True)
    upwards.start()
    try:
        with server.makefile("rb") as source, client.makefile("wb") as sink:
            break_texts(source, sink)
        client.shutdown(socket.SHUT_WR)
    except OSError:
        # Either end may be gone before the other: here it is no news.
        pass
    upwards.join(LIMIT_SECONDS)


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while chunk := source.recv(65_536):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def break_texts(source: BinaryIO, sink: BinaryIO) -> None:
    """Copies a response's head and the frames behind it; those of a server are whole and not masked."""
    while (line := source.readline()) and line != b"\r\n":
        sink.write(line)
    sink.write(line)
    sink.flush()
    while head := source.read(1):
        payload = source.read(length_of(source))
        if head[0] == TEXT and len(payload) > LEFT_ALONE_BYTES:
            payload = payload[:-1]
        sink.write(head + encoded_length(len(payload)) + payload)
        sink.flush()


def length_of(source: BinaryIO) -> int:
    short = source.read(1)[0]
    if short <= 125:
        return short
    return int.from_bytes(source.read(2 if short == 126 else 8))


def encoded_length(length: int) -> bytes:
    if length <= 125:
        return bytes([length])
    if length <= 0xFFFF:
        return bytes([126]) + length.to_bytes(2)
    return bytes([127]) + length.to_bytes(8)
