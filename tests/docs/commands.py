"""How each command of the pages is run, where that is not the plain way: to its end, beside a server
of the test's, with exit code 0.

Commands that are in no page any more make a test fail.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class NotRun:
    """Left out, and said so."""

    reason: str


@dataclass(frozen=True)
class Serves:
    """A server of its own on port 8080, which serves the rest of its block, and ends in order."""

    prints: str = ""


@dataclass(frozen=True)
class Stays:
    """Runs until it is ended. When `when` was seen, it is shown a message, and prints `prints`."""

    prints: str
    shown: tuple[str, str] | None = ("lobby", "shown by the test")


@dataclass(frozen=True)
class Ends:
    """Ends with exit code 0, having printed something that fits, in less than `seconds`."""

    prints: str = ""
    seconds: float = 20.0


INTERNET = NotRun("it installs from the network; the tests have what it installs")
HOURS = NotRun("it takes hours; test-peers runs a short one")
MINUTES = NotRun("it takes minutes; tests/study.rs runs a short one")
BENCHES = NotRun("it takes minutes; they are built by `make lint`")
RECURSION = NotRun("it is a part of what `make test` runs beside this test")

HOW = {
    # README.md
    "cargo run --release": Serves(r"open it in two browser tabs"),
    "cargo run --release -- connect": Ends(),
    "curl -d 'hello from a shell' 'http://127.0.0.1:8080/send?room=lobby'": Ends(
        r'"queued":1\b'
    ),
    "curl -N http://127.0.0.1:8080/sse/lobby": Stays(r"data: shown by the test"),
    "curl -s http://127.0.0.1:8080/status": Ends(r'"deliveries":\{'),
    "python3 -m pip install websockets": INTERNET,
    "python3 -m websockets ws://127.0.0.1:8080/ws/lobby": Stays(r"shown by the test"),
    'curl -H "X-API-Key: $KEY" -H \'Content-Type: application/json\' '
    '-d \'{"channel":"lobby","data":{"text":"hello"}}\' http://127.0.0.1:8080/api/publish': Ends(
        r'"result":\{"offset":1,'
    ),
    "slabcast --listen 0.0.0.0:8080 &": Serves(),
    "SLABCAST_TOKEN=$(slabcast token --user ada) slabcast connect": Ends(),
    "slabcast bench": Ends(r"(?s)lost +0\b"),
    "slabcast bench --rate 500 --payload 1KiB --churn 50": Ends(r"(?s)lost +0\b"),
    "slabcast bench ws://127.0.0.1:9000/ --json": NotRun("it needs somebody else's server; test-peers has some"),
    "slabcast connect": Ends(),
    "slabcast connect ws://10.0.0.5:8080 team --user ada": NotRun("it needs another machine"),
    "slabcast connect --json --follow </dev/null": Stays(r'"shown by the test"'),
    "slabcast publish lobby 'dinner is ready'": Ends(r"1"),
    "tail -f app.log | slabcast publish log": Stays("", shown=None),
    "slabcast exec --room build -- make -j4": Serves(r"the command's output is the room build"),
    "python3 -m websockets 'ws://127.0.0.1:8080/ws/build?since=start'": Stays(
        r'"line":"made by the test"', shown=None
    ),
    "slabcast --listen 0.0.0.0:8080 --anonymous --allowed-host chat.example.org": Serves(),
    "slabcast --set rooms.news.publish=nobody": Serves(),
    "SLABCAST_LIMITS_MESSAGE_BYTES=16KiB slabcast --set room_defaults.history_size=1000": Serves(),
    "cargo run --release -- study --quick": MINUTES,
    # CONTRIBUTING.md
    "cargo test --test drain": RECURSION,
    "cargo test --lib outbox": RECURSION,
    "make lint": RECURSION,
    "tests/clients/run.sh python --pattern 'test_cent.py'": RECURSION,
    # docs/conformance.md
    "make conformance": RECURSION,
    "make conformance FULL=1": RECURSION,
    # docs/configuration.md
    "slabcast config check --config slabcast.toml": Ends(r"configuration is valid"),
    # docs/operations.md
    "slabcast --listen 0.0.0.0:8080 --allowed-host chat.example.org --set limits.commands_per_second=50 &": Serves(),
    "curl -fs http://127.0.0.1:8080/readyz": Ends(r"ok"),
    "curl -fs -H \"X-API-Key: $SLABCAST_API_KEY\" -H 'Content-Type: application/json' "
    "-d '{\"channel\":\"lobby\",\"limit\":1}' http://127.0.0.1:8080/api/history": Ends(r'"data":"we are open"'),
    "ulimit -Hn": Ends(r"\d|unlimited"),
    "curl -s http://127.0.0.1:8080/metrics | grep -E '^process_(open|max)_fds '": Ends(
        r"process_open_fds \d+\n(.|\n)*process_max_fds \d+"
    ),
    # docs/performance.md
    "make bench-peers ARGS='--only all16,all32,f100-p1-w1-s64,f1000-p1-w1-s64,f10000-p1-w1-s64,f100-p16-w16-s64,"
    "f1000-p1-w16-s64,f1000-p16-w16-s64,f1000-p16-w16-s1024,f1000-p16-w64-s64,f10000-p16-w16-s64,rooms1000x10-*,"
    "half-bun*,idle10000,churn* --peers slabcast,slabcast-hub,bun,rawfan --repetitions 3 --seconds 2'": HOURS,
    # docs/study.md
    "cargo run --release -- study": MINUTES,
    "cargo bench --bench matrix": BENCHES,
    "cargo bench -- --quick": BENCHES,
    "cargo run --release -- serve --engine hub": Serves(),
    "cargo run --release -- bench --connections 1000 --publishers 16 --window 16": Ends(r"(?s)lost +0\b"),
}
