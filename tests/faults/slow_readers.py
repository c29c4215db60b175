"""A thousand members that hear a megabyte a second, and a thousand beside them that read nothing.

First without the others, for what is usual; then with them. They come all at once, and again in every
wave, when the last of those before is cut off. The members must lose nothing, and the server must get
rid of the others in time and of what they cost. How much later the members hear what is said is for
the reader: a machine that has other things to do says nothing about it. `make slow-readers` runs it;
two cores have just enough time for it, and where there is less, RATE=10 is a tenth of it.
"""

import argparse
import asyncio
import json
import resource
import socket
import sys
import time

from soak import HEAD, Server, Verdict, bench, settle

MEMBERS = 1_000
SLOW = 1_000
PAYLOAD_BYTES = 10_000
WAVE_S = 10
# From the last of a wave that came to the last that was cut off: as long, or until they are owed so much
# that neither the room's lag limit nor the system has a place for it, where that takes longer.
CUT_WITHIN_S = 10
UNREAD_BYTES_MAX = 4 << 20
# A machine that is later than this without any slow reader can't serve so much.
LATE_MAX_US = 1_000_000
GROWTH_BYTES_MAX = 1 << 30
# What may be left in the allocator.
LEFT_BYTES_MAX = 32 << 20
SAMPLE_S = 0.1
# Small, so that it is the server that keeps what is not read, and not the system.
RECEIVE_BYTES = 16 << 10


async def slow_reader(port, room):
    """Reads a part of the answer to its request, and no more."""
    stream = socket.socket()
    stream.setblocking(False)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(stream, ("127.0.0.1", port))
    await loop.sock_sendall(stream, HEAD.format(path=f"/ws/{room}").encode())
    answer = await loop.sock_recv(stream, 12)
    if answer[9:12] != b"101":
        sys.exit(f"refused: {answer!r}")
    return stream


def cut_off(status):
    return status["closed"]["slow_consumer"] + status["closed"]["write_timeout"]


async def waves(server, room, seconds, cuts):
    """Has them come, and notes for each wave how long it took until all were cut off."""
    begin = time.monotonic()
    for wave in range(max(1, seconds // WAVE_S)):
        await asyncio.sleep(max(0, begin + wave * WAVE_S - time.monotonic()))
        streams = await asyncio.gather(*(slow_reader(server.port, room) for _ in range(SLOW)))
        came = time.monotonic()
        while cut_off(await server.status()) < (wave + 1) * SLOW:
            await asyncio.sleep(SAMPLE_S)
        cuts.append(time.monotonic() - came)
        for stream in streams:
            stream.close()


async def watch(server, memory):
    """Notes how much the server has, until it is cancelled."""
    while True:
        memory.append(server.memory())
        await asyncio.sleep(SAMPLE_S)


async def load(server, arguments):
    """Has the members come, and returns their room and the process, once they are all there."""
    process = await bench(
        server, MEMBERS, arguments.seconds, "--rooms=1", "--publishers=1",
        f"--rate={arguments.rate}", f"--payload={PAYLOAD_BYTES}",
    )
    while (status := await server.status())["connections"] < MEMBERS:
        if process.returncode is not None:
            sys.exit("the load did not come about")
        await asyncio.sleep(SAMPLE_S)
    return status["rooms"][0]["name"], process


async def members_alone(server, arguments, verdict):
    _, process = await load(server, arguments)
    stdout, _ = await process.communicate()
    return judge(json.loads(stdout), process.returncode, "alone", verdict)


async def members_beside_slow_readers(server, arguments, verdict):
    cuts, memory, seconds = [], [], arguments.seconds
    room, process = await load(server, arguments)
    beside = [asyncio.create_task(waves(server, room, seconds, cuts)), asyncio.create_task(watch(server, memory))]
    try:
        stdout, _ = await process.communicate()
    finally:
        for task in beside:
            task.cancel()
        for ended in await asyncio.gather(*beside, return_exceptions=True):
            if isinstance(ended, BaseException) and not isinstance(ended, asyncio.CancelledError):
                raise ended
    latency = judge(json.loads(stdout), process.returncode, "beside them", verdict)
    said = ", ".join(f"{cut:.1f}" for cut in cuts) or "none"
    most = max(CUT_WITHIN_S, UNREAD_BYTES_MAX / (arguments.rate * PAYLOAD_BYTES))
    # One comes when the one before is gone; the last may still be there.
    waves_least = max(1, int(seconds // max(WAVE_S, most)) - 1)
    are_in_time = len(cuts) >= waves_least and max(cuts) < most
    verdict.expect(f"each wave of {SLOW} is cut off in time", are_in_time, f"{said} of {most:.0f} s")
    return latency, max(memory)


def judge(outcome, code, which, verdict):
    faults = {name: outcome[name] for name in ("lost", "duplicated", "reordered", "disconnected", "strayed")}
    latency = outcome["latency"]
    verdict.expect(
        f"members {which} heard everything once and in order",
        code == 0 and not any(faults.values()) and outcome["delivered"] == outcome["expected"] > 0,
        f"{outcome['delivered']} delivered, half within {latency['p50_us'] / 1000:.0f} ms, "
        f"99 of 100 within {latency['p99_us'] / 1000:.0f} ms",
    )
    return latency


async def run(arguments):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    verdict = Verdict()
    print(
        f"{MEMBERS} members and {SLOW} slow readers for {arguments.seconds} s at "
        f"{arguments.rate * PAYLOAD_BYTES / 1e6:.2f} MB/s on {arguments.engine}", flush=True,
    )
    server = await Server.start(arguments.engine)
    try:
        alone = await members_alone(server, arguments, verdict)
        if alone["p99_us"] > LATE_MAX_US:
            return [*verdict.faults, "the machine is too busy for so much: a lower --rate"]
        warm = server.memory()
        beside, most = await members_beside_slow_readers(server, arguments, verdict)
        print(f"       99 of 100: {beside['p99_us'] / alone['p99_us']:.2f} times as long as alone", flush=True)
        verdict.expect("slow readers cost a bounded amount", most - warm < GROWTH_BYTES_MAX, f"{(most - warm) >> 10} KiB at the most")
        await settle(server, verdict)
        left = server.memory() - warm
        verdict.expect("and nothing afterwards", left < LEFT_BYTES_MAX, f"{left >> 10} KiB")
    finally:
        server.process.kill()
        await server.process.wait()
    return verdict.faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="with and without the slow readers, each")
    parser.add_argument("--rate", type=float, default=100.0, help=f"messages of {PAYLOAD_BYTES} bytes a second")
    parser.add_argument("--engine", default="lock")
    faults = asyncio.run(run(parser.parse_args()))
    print("FAILED: " + "; ".join(faults) if faults else "PASSED", flush=True)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
