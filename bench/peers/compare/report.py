"""The results as a page of Markdown: of the results and of nothing else."""

from collections import Counter
from collections.abc import Callable, Iterable

from peers import REFERENCES
from results import (
    Measure,
    Results,
    Run,
    Spread,
    bytes_per_connection,
    joins_per_second,
    latency_ms,
    server_cores,
    server_cpu_ns,
    throughput,
)
from workloads import Kind, Workload

NOTHING = "–"

# The figures of each kind: heading, measure, how it is written. The first is what ratios are made of.
Column = tuple[str, Measure, Callable[[float], str]]


def whole(value: float) -> str:
    return f"{value:,.0f}"


def short(value: float) -> str:
    """Three digits that mean something."""
    if value >= 100:
        return whole(value)
    return f"{value:.3g}"


COLUMNS: dict[Kind, list[Column]] = {
    Kind.FAN_OUT: [
        ("server CPU, ns a delivery", server_cpu_ns, short),
        ("deliveries/s", throughput, whole),
        ("p99 ms", latency_ms("latency", "p99"), short),
    ],
    Kind.LATENCY: [
        ("p50 ms", latency_ms("latency", "p50"), short),
        ("p99 ms", latency_ms("latency", "p99"), short),
        ("deliveries/s", throughput, whole),
        ("server CPU, ns a delivery", server_cpu_ns, short),
    ],
    Kind.MEMORY: [("resident bytes a connection", bytes_per_connection, whole)],
    Kind.CHURN: [
        ("server CPU, cores", server_cores, short),
        ("joins/s", joins_per_second, whole),
        ("join p50 ms", latency_ms("join_latency", "p50"), short),
        ("join p99 ms", latency_ms("join_latency", "p99"), short),
        ("delivery p99 ms", latency_ms("latency", "p99"), short),
    ],
}


def report(header: dict, workloads: list[Workload], results: Results) -> str:
    peers = list(header["peers"])
    parts = [
        "# Broadcast servers, compared",
        introduction(header),
        table(["server", "what", "version"], ([name, peer["what"], peer["version"]] for name, peer in header["peers"].items())),
        left_out(header),
        *overviews(workloads, peers, results),
        *(section(workload, peers, results, header["omitted"].get(workload.name)) for workload in workloads),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def introduction(header: dict) -> str:
    facts = ", ".join(f"{name}: {value}" for name, value in header["machine"].items())
    return (
        f"{header['started']} · `{header['command']}`\n\n{facts}\n\n"
        f"Server on core {header['server_core']}, load on core {header['load_core']}. Each figure is the median of up to "
        f"{header['repetitions']} runs of {header['seconds']:g} s, in brackets the least and the most; a ratio is made "
        "within a repetition, in which each server had its turn. **Limit**: who had no more to give. If it is the "
        "load, then the deliveries/s are the load's and not the server's; the CPU time is the server's all the same. "
        "`bench/README.md` says how to read the rest."
    )


def left_out(header: dict) -> str:
    lines = [f"- **{name}** is left out: {why}" for name, why in header["left_out"].items()]
    return "\n".join(lines)


def overviews(workloads: list[Workload], peers: list[str], results: Results) -> Iterable[str]:
    """What is looked for first: every server in every fan-out, at one glance."""
    chosen = [one for one in workloads if one.kind == Kind.FAN_OUT]
    if not chosen:
        return
    rows = ([one.name, *(cell(results.spread(one.name, peer, server_cpu_ns), short) for peer in peers)] for one in chosen)
    yield "## Server CPU, ns a delivery\n\n" + table(["", *peers], rows)
    for reference in REFERENCES:
        if reference in peers:
            rows = (
                [one.name, *(cell(results.ratio(one.name, peer, reference, server_cpu_ns), short) for peer in peers)]
                for one in chosen
            )
            yield f"## The same over {reference}’s: below 1 is cheaper\n\n" + table(["", *peers], rows)


def section(workload: Workload, peers: list[str], results: Results, omitted: str | None) -> str:
    title = f"## {workload.name}\n\n{workload.what[0].upper()}{workload.what[1:]}."
    if omitted:
        return f"{title} Left out: {omitted}"
    columns = COLUMNS[workload.kind]
    references = [name for name in REFERENCES if name in peers]
    heads = ["server", *(head for head, _, _ in columns)]
    heads += [f"{columns[0][0].split(',')[0]} over {name}’s" for name in references]
    heads += ["limit", "notes"]
    rows = (row(workload, peer, columns, references, results) for peer in peers)
    return f"{title}\n\n" + table(heads, rows)


def row(workload: Workload, peer: str, columns: list[Column], references: list[str], results: Results) -> list[str]:
    runs = results.of(workload.name, peer)
    figures = [with_range(results.spread(workload.name, peer, measure), write) for _, measure, write in columns]
    primary = columns[0][1]
    ratios = [with_range(results.ratio(workload.name, peer, other, primary), short) for other in references]
    return [peer, *figures, *ratios, limits(runs), notes(runs)]


def limits(runs: list[Run]) -> str:
    counts = Counter(run.outcome["limit"] for run in runs if run.outcome)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{limit} {count}×" for limit, count in counts.most_common()) or NOTHING


def notes(runs: list[Run]) -> str:
    """What a reader has to know of the figures."""
    said = []
    faults: Counter[str] = Counter()
    for run in runs:
        faults.update(run.faults())
    said += [f"**{name}: {count:,}**" for name, count in faults.items()]
    said += sorted({f"ended by: {end}" for run in runs if run.outcome and (end := run.outcome["first_disconnect"])})
    sent_again = sum(run.outcome["retransmitted_segments"] or 0 for run in runs if run.outcome)
    if sent_again:
        said.append(f"{sent_again} TCP segments sent again")
    discarded = sum(run.discarded for run in runs)
    if discarded:
        said.append(f"{discarded} discarded, CPU stolen")
    said += sorted({why for run in runs if (why := run.problem or run.unfit)})
    return "; ".join(said).replace("|", "\\|")


def cell(spread: Spread | None, write: Callable[[float], str]) -> str:
    return write(spread.median) if spread else NOTHING


def with_range(spread: Spread | None, write: Callable[[float], str]) -> str:
    if not spread:
        return NOTHING
    if spread.low == spread.high:
        return write(spread.median)
    return f"{write(spread.median)} ({write(spread.low)}–{write(spread.high)})"


def table(heads: list[str], rows: Iterable[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
