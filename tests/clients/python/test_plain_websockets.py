"""`/ws/{room}` with the PyPI library `websockets`, and with frames made by hand that no library sends."""

import asyncio
import base64
import os
import struct
import unittest

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from support import DEADLINE_S, Case, address, eventually

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


async def soon(awaitable):
    async with asyncio.timeout(DEADLINE_S):
        return await awaitable


class PlainWebSockets(Case):
    async def open(self, server, room="lobby", **query):
        socket = await connect(address(server, f"/ws/{room}", **query), proxy=None, compression=None, open_timeout=DEADLINE_S, close_timeout=1)
        self.addAsyncCleanup(socket.close)
        return socket

    async def member(self, server, room="lobby", **query):
        """Nothing is said on the wire when one is in, so the server's own count is waited for."""
        before = await server.clients_in(room)
        socket = await self.open(server, room, **query)

        async def is_in():
            return await server.clients_in(room) > before

        await eventually("one member more", is_in)
        return socket

    async def closing(self, socket):
        with self.assertRaises(ConnectionClosed):
            while True:
                await soon(socket.recv())
        return socket.close_code, socket.close_reason

    async def test_text_and_binary_arrive_as_they_were_sent(self):
        server = await self.server()
        ada, bob = await self.member(server), await self.member(server)
        sent = ["hello", "", "é 漢 🦀\0\r\n", b"", bytes(range(256)), b"text", "x" * 65_536, b"\xff" * 65_536]

        for message in sent:
            await ada.send(message)

        for socket in (ada, bob):
            self.assertEqual([await soon(socket.recv()) for _ in sent], sent)

    async def test_a_message_sent_in_fragments_arrives_as_one(self):
        server = await self.server()
        ada = await self.open(server)

        await ada.send(["one ", "message ", "in three"])
        await ada.send([b"\x00", b"", b"\xff"])

        self.assertEqual([await soon(ada.recv()) for _ in range(2)], ["one message in three", b"\x00\xff"])

    async def test_a_ping_is_answered_with_its_payload(self):
        server = await self.server()
        ada = await self.open(server)

        # The future is done by the pong with the same payload and by no other.
        await soon(await ada.ping(b"payload"))

    async def test_the_close_handshake_echoes_our_code(self):
        server = await self.server()
        ada = await self.member(server)

        await soon(ada.close(1000, "bye"))

        self.assertEqual(ada.close_code, 1000)

        async def empty():
            return await server.clients_in("lobby") == 0

        await eventually("an empty room", empty)

    async def test_too_big_is_closed_with_1009_and_a_reason(self):
        server = await self.server(limits__message_bytes="1KiB")
        ada, bob = await self.member(server), await self.member(server)

        await ada.send("x" * 1025)

        code, reason = await self.closing(ada)
        self.assertEqual(code, 1009)
        self.assertTrue(0 < len(reason.encode()) <= 123, reason)
        await bob.send("unharmed")
        self.assertEqual(await soon(bob.recv()), "unharmed")

    async def test_a_foreign_origin_is_refused_with_403(self):
        server = await self.server()

        with self.assertRaises(InvalidStatus) as refused:
            await connect(address(server, "/ws/lobby"), origin="http://evil.example", proxy=None)
        self.assertEqual(refused.exception.response.status_code, 403)

    async def test_a_newcomer_can_have_the_past_first(self):
        server = await self.server()
        ada = await self.member(server)
        for n in range(5):
            await ada.send(f"{n}")
            await soon(ada.recv())

        bob = await self.open(server, since="start")
        eve = await self.open(server, since="3")

        self.assertEqual([await soon(bob.recv()) for _ in range(5)], ["0", "1", "2", "3", "4"])
        self.assertEqual([await soon(eve.recv()) for _ in range(2)], ["3", "4"])

    async def test_sigterm_is_1001_with_a_reason_and_exit_code_0(self):
        server = await self.server(timeouts__drain_window="200ms")
        ada = await self.member(server)

        server.terminate()

        code, reason = await self.closing(ada)
        self.assertEqual(code, 1001)
        self.assertTrue(reason)
        self.assertEqual(await server.ended(), 0)


class Raw:
    """A WebSocket whose every bit is ours."""

    @classmethod
    async def open(cls, server, path):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        key = base64.b64encode(os.urandom(16)).decode()
        head = (f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Connection: Upgrade", "Upgrade: websocket",
                "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "", "")
        writer.write("\r\n".join(head).encode())
        answer = await soon(reader.readuntil(b"\r\n\r\n"))
        if not answer.startswith(b"HTTP/1.1 101 "):
            raise AssertionError(answer)
        return cls(reader, writer)

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def send(self, first, payload=b"", masked=True, length=None):
        size = len(payload) if length is None else length
        bit = 0x80 if masked else 0
        if size < 126:
            head = struct.pack("!BB", first, bit | size)
        elif size < 65_536:
            head = struct.pack("!BBH", first, bit | 126, size)
        else:
            head = struct.pack("!BBQ", first, bit | 127, size)
        mask = os.urandom(4) if masked else b""
        body = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload)) if masked else payload
        self.writer.write(head + mask + body)

    async def frame(self):
        """The next frame's opcode and payload; (None, b"") at the end of the stream."""
        try:
            first, second = await soon(self.reader.readexactly(2))
            size = second & 0x7F
            if size >= 126:
                size = int.from_bytes(await soon(self.reader.readexactly(2 if size == 126 else 8)), "big")
            return first & 0x0F, await soon(self.reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None, b""

    async def close_code(self):
        """None when the connection ends without a close frame."""
        while True:
            opcode, payload = await self.frame()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big")
            if opcode is None:
                return None

    def end(self):
        self.writer.transport.abort()


class BadFrames(Case):
    async def raw(self, server):
        raw = await Raw.open(server, "/ws/lobby")
        self.addCleanup(raw.end)
        return raw

    async def expect(self, expected, *send_all):
        server = await self.server()
        raw, witness = await self.raw(server), await self.raw(server)

        for send in send_all:
            send(raw)

        self.assertEqual(await raw.close_code(), expected)
        # One peer's fault is nobody else's problem.
        witness.send(0x80 | TEXT, b"unharmed")
        self.assertEqual(await witness.frame(), (TEXT, b"unharmed"))

    async def test_an_unmasked_frame_is_1002(self):
        await self.expect(1002, lambda raw: raw.send(0x80 | TEXT, b"bare", masked=False))

    async def test_a_reserved_bit_is_1002(self):
        await self.expect(1002, lambda raw: raw.send(0xC0 | TEXT, b"rsv1"))

    async def test_a_reserved_opcode_is_1002(self):
        await self.expect(1002, lambda raw: raw.send(0x80 | 3, b"?"))

    async def test_a_continuation_of_nothing_is_1002(self):
        await self.expect(1002, lambda raw: raw.send(0x80, b"tail"))

    async def test_a_new_message_inside_a_fragmented_one_is_1002(self):
        await self.expect(1002, lambda raw: raw.send(TEXT, b"head"), lambda raw: raw.send(0x80 | TEXT, b"new"))

    async def test_a_fragmented_ping_is_1002(self):
        await self.expect(1002, lambda raw: raw.send(PING, b"part"))

    async def test_a_ping_of_more_than_125_bytes_is_1002(self):
        await self.expect(1002, lambda raw: raw.send(0x80 | PING, b"x" * 126))

    async def test_text_that_is_not_utf8_is_1007(self):
        await self.expect(1007, lambda raw: raw.send(0x80 | TEXT, b"\xff\xfe"))

    async def test_a_frame_announced_over_the_limit_is_1009_before_it_is_sent(self):
        # Only the head: a server that waits for a gigabyte would never answer.
        await self.expect(1009, lambda raw: raw.send(0x80 | BINARY, length=1 << 30))

    async def test_a_close_code_that_may_not_be_sent_is_1002(self):
        await self.expect(1002, lambda raw: raw.send(0x80 | CLOSE, (1005).to_bytes(2, "big")))

    async def test_a_close_without_a_code_is_answered(self):
        server = await self.server()
        raw = await self.raw(server)

        raw.send(0x80 | CLOSE)

        opcode, _ = await raw.frame()
        self.assertEqual(opcode, CLOSE)
        self.assertEqual(await raw.frame(), (None, b""), "and then the server ends the connection")

    async def test_a_frame_that_comes_byte_by_byte_is_a_frame(self):
        server = await self.server()
        raw = await self.raw(server)
        whole = b"\x81\x85\x00\x00\x00\x00hello"

        for byte in whole:
            raw.writer.write(bytes([byte]))
            await raw.writer.drain()

        self.assertEqual(await raw.frame(), (TEXT, b"hello"))


if __name__ == "__main__":
    unittest.main()
