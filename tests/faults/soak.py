"""Many connections for some minutes, under broadcast, while others come and go in every rude way there is.

`slabcast bench` is the many, and accounts for each message; the rude ones are made here. In the end the
server must hold nothing any more, its memory must not have grown since it was warm, and it must go at
once when it is told to. Needs nothing but Python. `make soak` runs it: MINUTES says for how long,
CONNECTIONS how many there are.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import resource
import signal
import socket
import struct
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SLABCAST_BIN", str(ROOT / "target/release/slabcast"))

# What server and bench need beside their connections.
RESERVE = 500
# Rude ones at once; the server has places for them beside the others.
RUDE_MAX = 1_000
ROOMS = 10
DELIVERIES_PER_S = 50_000
SAMPLE_S = 1.0
# Before that share of the run, memory may grow: buffers and tables find their sizes.
WARM_UP_SHARE = 1 / 3
# What a run may add to the memory that the server has on the average, and what is noise in any case.
GROWTH_SHARE_MAX = 0.08
GROWTH_NOISE_BYTES = 4 << 20
# What each of the many may cost, where they are enough for it to be theirs.
CONNECTION_BYTES_MAX = 16 << 10
MANY = 5_000
SETTLES_WITHIN_S = 30
ENDS_WITHIN_S = 3
START_WITHIN_S = 15

HEAD = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# The header, mask and a part of the payload of a text of 1000 bytes.
TORN = b"\x81\xfe\x03\xe8\1\2\3\4" + b"x" * 500

# Rooms that somebody has to himself, one after the other: enough for all who come at once.
OWN_ROOMS = RUDE_MAX
# A process that is killed, what it has open then, and how many connections go so in a second.
VICTIM = """
import socket, sys
streams = []
for number in range(int(sys.argv[2])):
    streams.append(socket.socket())
    streams[-1].settimeout(20)
    streams[-1].bind((f"127.0.2.{number % 19 + 1}", 0))
    streams[-1].connect(("127.0.0.1", int(sys.argv[1])))
    streams[-1].sendall(bytes.fromhex(sys.argv[3]))
    assert streams[-1].recv(12)[9:] == b"101"
    streams[-1].sendall(bytes.fromhex(sys.argv[4])[: 1 + 25 * number])
print("in the middle of it", flush=True)
sys.stdin.read()
"""
VICTIM_CONNECTIONS = 20
KILLED_PER_S = 10


class Server:
    @classmethod
    async def start(cls, engine, settings=()):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLABCAST_")}
        process = await asyncio.create_subprocess_exec(
            BINARY, "--listen", "127.0.0.1:0", "--engine", engine, "--log", "warn",
            "--set", "room_defaults.history_size=0", "--set", "timeouts.close=1s",
            *(part for setting in settings for part in ("--set", setting)),
            env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(START_WITHIN_S):
            line = (await process.stdout.readline()).decode()
        server = cls(process, int(line.rstrip("/\n").rpartition(":")[2]))
        server.idle_descriptors, server.idle_bytes = server.descriptors(), server.memory()
        return server

    def __init__(self, process, port):
        self.process = process
        self.port = port

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def memory(self):
        with open(f"/proc/{self.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()

    async def status(self):
        def read():
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status", timeout=20) as answer:
                return json.load(answer)

        return await asyncio.to_thread(read)


class Rude:
    """Those who come, and go in one of these ways: so many of each, and how many at once."""

    def __init__(self, server, rooms):
        self.server = server
        self.rooms = rooms
        self.gone = Counter()
        # Each address has some 28000 ports, of which the many take most.
        self.sources = itertools.cycle(f"127.0.1.{n}" for n in range(1, 20))
        self.random = random.Random(1)
        self.places = asyncio.Semaphore(RUDE_MAX)
        # Each with how many had it before.
        self.own_rooms = [(f"own{number}", 0) for number in range(OWN_ROOMS)]
        self.misheard = []

    async def come(self, per_second):
        """Sends them, until it is cancelled."""
        ways = [self.handshake, self.frame, self.unread, self.events, self.polite, self.successor]
        async with asyncio.TaskGroup() as group:
            begin = time.monotonic()
            for number in itertools.count():
                await asyncio.sleep(max(0, begin + number / per_second - time.monotonic()))
                await self.places.acquire()
                group.create_task(self.one(ways[number % len(ways)], is_reset=self.random.random() < 0.5))

    async def one(self, way, is_reset):
        stream = socket.socket()
        stream.setblocking(False)
        try:
            stream.bind((next(self.sources), 0))
            await asyncio.get_running_loop().sock_connect(stream, ("127.0.0.1", self.server.port))
            await way(stream)
            if is_reset:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.gone[f"{way.__name__} {'RST' if is_reset else 'FIN'}"] += 1
        except OSError as error:
            self.gone[f"{way.__name__} {error.strerror}"] += 1
        finally:
            stream.close()
            self.places.release()

    async def send(self, stream, octets):
        await asyncio.get_running_loop().sock_sendall(stream, octets)

    async def upgrade(self, stream, path="/ws/{room}"):
        head = HEAD.format(path=path.format(room=self.random.choice(self.rooms)))
        await self.send(stream, head.encode())
        answer = await asyncio.get_running_loop().sock_recv(stream, 12)
        if answer[9:12] not in (b"101", b"200"):
            raise OSError(0, f"refused: {answer!r}")

    async def successor(self, stream):
        """Has a room to itself that another had before, and hears what it says there and nothing else."""
        # The one that was left last.
        room, generation = self.own_rooms.pop()
        try:
            await self.upgrade(stream, f"/ws/{room}")
            said = [f"{room} {generation} {word}".encode() for word in ("first", "second")]
            # The mask changes nothing.
            await self.send(stream, b"".join(b"\x81" + bytes([0x80 | len(text)]) + bytes(4) + text for text in said))
            heard, wanted = b"", b"".join(b"\x81" + bytes([len(text)]) + text for text in said)
            while (behind := heard.partition(b"\r\n\r\n")[2]) != wanted and wanted.startswith(behind):
                octets = await asyncio.get_running_loop().sock_recv(stream, 4096)
                if not octets:
                    break
                heard += octets
            if behind != wanted:
                self.misheard.append((room, generation, heard))
            await self.send(stream, TORN[: self.random.randrange(1, len(TORN))])
        finally:
            self.own_rooms.append((room, generation + 1))

    async def be_killed(self):
        """Has processes killed in the middle of what they say, until it is cancelled."""
        head = HEAD.format(path=f"/ws/{self.rooms[0]}").encode()
        arguments = (str(self.server.port), str(VICTIM_CONNECTIONS), head.hex(), TORN.hex())
        while True:
            begin = time.monotonic()
            for _ in range(VICTIM_CONNECTIONS):
                await self.places.acquire()
            victim = await asyncio.create_subprocess_exec(
                sys.executable, "-S", "-c", VICTIM, *arguments,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )
            try:
                is_ready = bool(await victim.stdout.readline())
            finally:
                if victim.returncode is None:
                    victim.kill()
                await victim.wait()
            self.gone["killed" if is_ready else "killed too early"] += VICTIM_CONNECTIONS
            for _ in range(VICTIM_CONNECTIONS):
                self.places.release()
            await asyncio.sleep(max(0, begin + VICTIM_CONNECTIONS / KILLED_PER_S - time.monotonic()))

    async def handshake(self, stream):
        head = HEAD.format(path=f"/ws/{self.rooms[0]}").encode()
        await self.send(stream, head[: self.random.randrange(len(head))])

    async def frame(self, stream):
        await self.upgrade(stream)
        await self.send(stream, TORN[: self.random.randrange(1, len(TORN))])

    async def unread(self, stream):
        """Hears nothing of what is said for some seconds."""
        await self.upgrade(stream)
        await asyncio.sleep(self.random.uniform(1, 5))

    async def events(self, stream):
        await self.upgrade(stream, "/sse/{room}")

    async def polite(self, stream):
        await self.upgrade(stream)
        await self.send(stream, b"\x88\x82\0\0\0\0\x03\xe8")


class Verdict:
    def __init__(self):
        self.faults = []

    def expect(self, what, holds, seen):
        print(f"  {'ok  ' if holds else 'FAIL'} {what}: {seen}", flush=True)
        if not holds:
            self.faults.append(what)


async def bench(server, connections, seconds, *options):
    return await asyncio.create_subprocess_exec(
        BINARY, "bench", f"ws://127.0.0.1:{server.port}/ws/{{room}}", "--json", f"--connections={connections}",
        f"--duration={seconds}s", f"--server-pid={server.process.pid}", *options,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
    )


def judge_rude(rude, verdict):
    print(f"  {sum(rude.gone.values())} rude ones: {dict(sorted(rude.gone.items()))}", flush=True)
    had = [generation for _, generation in rude.own_rooms if generation]
    verdict.expect(
        "nobody heard what was another's", sum(had) > len(had) and not rude.misheard,
        f"{sum(had)} had {len(had)} rooms one after the other, wrong {rude.misheard[:3]}",
    )
    are_killed = rude.gone["killed"] > 0 and not rude.gone["killed too early"]
    verdict.expect("processes were killed", are_killed, f"{rude.gone['killed']} connections")


async def sample(server, samples):
    """Looks again and again, until it is cancelled."""
    begin = time.monotonic()
    while True:
        status = await server.status()
        samples.append((time.monotonic() - begin, server.memory(), server.descriptors(), status["connections"]))
        if len(samples) % 15 == 0:
            at, memory, open_, sessions = samples[-1]
            print(f"  {at:4.0f} s  {memory >> 20} MiB  {open_} descriptors  {sessions} sessions", flush=True)
        await asyncio.sleep(SAMPLE_S)


def slope(points):
    """The growth in a second, by least squares."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


async def settle(server, verdict):
    """Waits until nobody is there, and looks at what is left."""
    end = time.monotonic() + SETTLES_WITHIN_S
    while True:
        status = await server.status()
        left = (status["connections"], status["num_rooms"], status["subscriptions"], status["feed_bytes"])
        # The last look may still be open.
        open_ = server.descriptors() - server.idle_descriptors
        if (left == (0, 0, 0, 0) and open_ == 0) or time.monotonic() > end:
            break
        await asyncio.sleep(0.1)
    verdict.expect("sessions, rooms, members and bytes left", left == (0, 0, 0, 0), left)
    verdict.expect("descriptors left", open_ == 0, open_)
    deliveries = status["deliveries"]
    accounted = sum(deliveries[account] for account in ("delivered", "skipped", "discarded", "pending"))
    verdict.expect("every frame is accounted for", accounted == deliveries["due"], deliveries)
    ended = sum(status["closed"].values())
    closed = {reason: count for reason, count in status["closed"].items() if count}
    verdict.expect("every session has ended once", ended == status["opened"], f"{status['opened']} opened, {closed}")
    verdict.expect("none by a fault of the server's", status["closed"]["internal"] == 0, status["closed"]["internal"])


def judge_load(outcome, code, verdict):
    faults = {name: outcome.get(name) for name in ("lost", "duplicated", "reordered", "disconnected")}
    figures = f"{outcome.get('delivered')} delivered, {faults}, exit code {code}"
    verdict.expect("the many heard everything once and in order", code == 0 and not any(faults.values()), figures)


def judge_memory(server, samples, connections, verdict):
    full = [(at, memory) for at, memory, _, sessions in samples if sessions >= connections]
    verdict.expect("all were there at once", len(full) > 5, f"{max(sessions for *_, sessions in samples)} sessions")
    if len(full) <= 5:
        return
    begin, end = full[0][0], full[-1][0]
    warm = [point for point in full if point[0] >= begin + (end - begin) * WARM_UP_SHARE]
    growth = slope(warm) * (warm[-1][0] - warm[0][0])
    mean = sum(memory for _, memory in warm) / len(warm)
    most = max(GROWTH_NOISE_BYTES, mean * GROWTH_SHARE_MAX)
    verdict.expect(
        "memory is flat once it is warm", growth < most,
        f"{growth / 2**20:+.1f} MiB in {warm[-1][0] - warm[0][0]:.0f} s, on {mean / 2**20:.0f} MiB",
    )
    each = (mean - server.idle_bytes) / connections
    if connections >= MANY:
        verdict.expect("a connection costs little", each <= CONNECTION_BYTES_MAX, f"{each / 1024:.1f} KiB")


async def soak(arguments):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    connections = min(arguments.connections, most - RUDE_MAX - RESERVE)
    print(f"{connections} connections for {arguments.seconds} s on {arguments.engine}", flush=True)
    verdict, samples = Verdict(), []
    server = await Server.start(arguments.engine, arguments.set)
    threads = server.threads()
    try:
        load = await bench(
            server, connections, arguments.seconds, f"--rooms={ROOMS}", f"--publishers={ROOMS}",
            f"--rate={DELIVERIES_PER_S * ROOMS / connections:.2f}", "--churn=30",
        )
        try:
            while (status := await server.status())["connections"] < connections:
                if load.returncode is not None:
                    sys.exit("the load did not come about")
                await asyncio.sleep(0.2)
            rude = Rude(server, [room["name"] for room in status["rooms"]])
            beside = [
                asyncio.create_task(task)
                for task in (rude.come(arguments.rude), rude.be_killed(), sample(server, samples))
            ]
            stdout, _ = await load.communicate()
            for task in beside:
                task.cancel()
            for ended in await asyncio.gather(*beside, return_exceptions=True):
                if not isinstance(ended, asyncio.CancelledError):
                    raise ended
        finally:
            if load.returncode is None:
                load.kill()
                await load.wait()
        if not stdout:
            sys.exit("the load did not come about: the machine is too busy for so much")
        judge_rude(rude, verdict)
        judge_load(json.loads(stdout), load.returncode, verdict)
        judge_memory(server, samples, connections, verdict)
        await settle(server, verdict)
        # Files are read for `/metrics` by threads that go by themselves; it was not asked.
        verdict.expect("threads as at the start", server.threads() == threads, f"{threads}, {server.threads()}")
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        # It waits for each of its tasks: one that is left would hold it up until the deadline.
        async with asyncio.timeout(60):
            code = await server.process.wait()
        took = time.monotonic() - begin
        verdict.expect("it goes at once, with 0", code == 0 and took < ENDS_WITHIN_S, f"{code} after {took:.2f} s")
    finally:
        if server.process.returncode is None:
            server.process.kill()
            await server.process.wait()
    return verdict.faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--connections", type=int, default=18_000, help="as far as there are descriptors")
    parser.add_argument("--rude", type=float, default=165.0, help="rude ones a second, without those that are killed")
    parser.add_argument("--engine", default="lock")
    parser.add_argument("--set", action="append", default=[], help="a setting of the server's")
    faults = asyncio.run(soak(parser.parse_args()))
    print("FAILED: " + "; ".join(faults) if faults else "PASSED", flush=True)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
