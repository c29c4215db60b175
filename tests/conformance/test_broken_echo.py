"""That the broken echo is broken as it should be, and in nothing else."""

import io
import unittest

from broken_echo import break_texts, encoded_length

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def through(frames: bytes) -> bytes:
    sink = io.BytesIO()
    break_texts(io.BytesIO(HEAD + frames), sink)
    answer = sink.getvalue()
    assert answer.startswith(HEAD)
    return answer.removeprefix(HEAD)


def frame(first_byte: int, payload: bytes) -> bytes:
    return bytes([first_byte]) + encoded_length(len(payload)) + payload


class BrokenEcho(unittest.TestCase):
    def test_lengths_are_encoded_as_short_as_they_can_be(self) -> None:
        for length, encoded in ((0, "00"), (125, "7d"), (126, "7e007e"), (65_535, "7effff"), (65_536, "7f0000000000010000")):
            self.assertEqual(encoded_length(length).hex(), encoded)

    def test_long_texts_lose_their_last_byte(self) -> None:
        for length in (126, 127, 65_535, 65_536, 65_537):
            text = b"x" * (length - 1)
            self.assertEqual(through(frame(0x81, text + b"y")), frame(0x81, text))

    def test_everything_else_comes_through(self) -> None:
        short, binary, close = frame(0x81, b"x" * 125), frame(0x82, b"x" * 70_000), frame(0x88, b"\x03\xe8")
        for frames in (b"", short, binary, close, short + binary + close):
            self.assertEqual(through(frames), frames)


if __name__ == "__main__":
    unittest.main()
