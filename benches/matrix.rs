//! The study's matrix: coordination and delivery, in the shapes that matter.
//!
//! `cargo bench --bench matrix -- [--quick] [--json] [--payload BYTES]` prints CPU nanoseconds per
//! delivery and messages per write as a Markdown table, or everything as JSON. Cells take turns (A B C A B C …): what
//! disturbs the machine disturbs all of them, and ratios are taken within a turn. A write is a system
//! call to `/dev/null` (see `support/sink.rs`). Copied outboxes of 10,000 members hold everything that
//! is in flight: with a payload of 16 KiB that takes some 7 GB.

#![allow(
    clippy::unwrap_used,
    reason = "a bench that fails may say so by panicking"
)]

mod support;

use serde_json::{Value, json};
use slabcast::fanout::{Hub, Registry, engine::Client};
use support::{
    cell::{BroadcastDrained, BroadcastPump, Cell, FeedCell, PushHub, Pushed},
    coordination::{
        Mutexed, OneMutex, Ordered, RwLocked, Sharded, SingleHub, Snapshot, StdRwLocked,
    },
    delivery::{Copied, Delivery, Drained, SharedBytes, WritePump},
    load::{self, Arena, Outcome, Shape},
};
use tokio::runtime::Runtime;

const SHAPES: [(&str, Shape); 5] = [
    ("all-to-all 32", shape(1, 32, 32)),
    ("1 of 1,000", shape(1, 1_000, 1)),
    ("16 of 1,000", shape(1, 1_000, 16)),
    ("16 of 10,000", shape(1, 10_000, 16)),
    ("1,000 rooms of 2", shape(1_000, 2, 2)),
];

/// A window of one message, so as many are in flight as there are publishers.
const fn shape(rooms: usize, members: usize, publishers: usize) -> Shape {
    Shape {
        rooms,
        members,
        publishers,
        window: 1,
        payload_bytes: 64,
    }
}

/// Rounds of a lap at the least: with fewer, it is mostly beginning and end.
const ROUNDS_MIN: u64 = 8;

/// Coordination, delivery, and what measures a lap of the cell.
struct Row {
    coordination: &'static str,
    delivery: &'static str,
    measure: fn(&Runtime, Shape, u64) -> Outcome,
}

fn row<C: Cell>(coordination: &'static str, delivery: &'static str) -> Row {
    Row {
        coordination,
        delivery,
        measure: measure::<C>,
    }
}

fn measure<C: Cell>(runtime: &Runtime, shape: Shape, rounds: u64) -> Outcome {
    runtime.block_on(async {
        let arena = Arena::<C>::open(shape).await;
        // Every queue and every buffer has its size after this one.
        arena.lap(1).await;
        let outcome = arena.lap(rounds).await;
        arena.close().await;
        outcome
    })
}

/// One delivery under a lock with an order, a lock without, and a hub.
fn pushed<D: Delivery>() -> [Row; 3] {
    [
        row::<Pushed<RwLocked<D::Mailbox>, D, true>>("lock", D::NAME),
        row::<Pushed<RwLocked<D::Mailbox>, D, false>>("lock, no order", D::NAME),
        row::<PushHub<D>>("hub", D::NAME),
    ]
}

fn rows() -> Vec<Row> {
    let mut rows = vec![
        row::<FeedCell<Registry>>("lock", "feed"),
        row::<FeedCell<Hub>>("hub", "feed"),
        row::<FeedCell<SingleHub>>("single hub", "feed"),
        row::<FeedCell<OneMutex>>("one mutex", "feed"),
        row::<FeedCell<Ordered<Mutexed<Client>>>>("mutex", "feed"),
        row::<FeedCell<Ordered<StdRwLocked<Client>>>>("std RwLock", "feed"),
        row::<FeedCell<Ordered<Snapshot<Client>>>>("snapshot", "feed"),
        row::<FeedCell<Ordered<Sharded<Client>>>>("64 shards", "feed"),
    ];
    rows.extend(pushed::<Copied>());
    rows.extend(pushed::<SharedBytes>());
    rows.extend(pushed::<Drained>());
    rows.extend(pushed::<WritePump>());
    type Mailbox = <Copied as Delivery>::Mailbox;
    rows.extend([
        row::<Pushed<Mutexed<Mailbox>, Copied, true>>("mutex", "copied"),
        row::<Pushed<StdRwLocked<Mailbox>, Copied, true>>("std RwLock", "copied"),
        row::<Pushed<Snapshot<Mailbox>, Copied, true>>("snapshot", "copied"),
        row::<Pushed<Sharded<Mailbox>, Copied, true>>("64 shards", "copied"),
        row::<BroadcastDrained>("tokio broadcast", "drained"),
        row::<BroadcastPump>("tokio broadcast", "one by one"),
    ]);
    rows
}

/// What the turns of one cell in one shape have shown.
#[derive(Default)]
struct Cells {
    cpu_ns: Vec<f64>,
    wall_ns: Vec<f64>,
    messages_per_write: Vec<f64>,
    /// CPU of the first row in the same turn, through this one's.
    ratio: Vec<f64>,
}

impl Cells {
    fn add(&mut self, outcome: &Outcome, first_cpu_ns: Option<f64>) -> f64 {
        let deliveries = outcome.deliveries as f64;
        let cpu_ns = outcome.cpu.as_nanos() as f64 / deliveries;
        self.cpu_ns.push(cpu_ns);
        self.wall_ns
            .push(outcome.wall.as_nanos() as f64 / deliveries);
        self.messages_per_write
            .push(deliveries / outcome.writes as f64);
        self.ratio.push(first_cpu_ns.unwrap_or(cpu_ns) / cpu_ns);
        cpu_ns
    }

    fn to_json(&self) -> Value {
        json!({
            "cpu_ns": self.cpu_ns,
            "wall_ns": self.wall_ns,
            "messages_per_write": self.messages_per_write,
            "ratio_to_first": self.ratio,
        })
    }

    fn summary(&self) -> String {
        let ns = median(&self.cpu_ns);
        let per_write = median(&self.messages_per_write);
        format!("{ns:.0} ({:.2}) ÷{per_write:.1}", median(&self.ratio))
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let has = |flag: &str| std::env::args().any(|arg| arg == flag);
    if !has("--bench") {
        // `cargo test --benches` asks whether it works; the suite has that.
        return;
    }
    let is_quick = has("--quick");
    let payload_bytes = payload_bytes();
    let (turns, deliveries) = if is_quick {
        (3, 50_000)
    } else {
        (7, 1_000_000)
    };
    let rows = rows();
    let runtime = load::runtime();
    let mut table: Vec<Vec<Cells>> = Vec::new();
    for (name, shape) in SHAPES {
        eprintln!("{name} …");
        let shape = Shape {
            payload_bytes,
            ..shape
        };
        let rounds = (deliveries / shape.deliveries_per_round()).max(ROUNDS_MIN);
        let mut cells: Vec<Cells> = rows.iter().map(|_| Cells::default()).collect();
        for _ in 0..turns {
            let mut first = None;
            for (row, cells) in rows.iter().zip(&mut cells) {
                let outcome = (row.measure)(&runtime, shape, rounds);
                let cpu_ns = cells.add(&outcome, first);
                first.get_or_insert(cpu_ns);
            }
        }
        table.push(cells);
    }
    if has("--json") {
        print_json(&rows, &table);
    } else {
        print_markdown(&rows, &table, payload_bytes);
    }
}

/// As `--payload` says, or what the shapes say.
fn payload_bytes() -> usize {
    let mut args = std::env::args()
        .skip_while(|arg| arg != "--payload")
        .skip(1);
    match args.next() {
        Some(bytes) => bytes.parse().expect("--payload takes a number of bytes"),
        None => SHAPES[0].1.payload_bytes,
    }
}

fn print_json(rows: &[Row], table: &[Vec<Cells>]) {
    let mut all = Vec::new();
    for ((shape, _), column) in SHAPES.iter().zip(table) {
        for (row, cells) in rows.iter().zip(column) {
            let mut cell = cells.to_json();
            cell["shape"] = json!(shape);
            cell["coordination"] = json!(row.coordination);
            cell["delivery"] = json!(row.delivery);
            all.push(cell);
        }
    }
    println!("{}", Value::Array(all));
}

fn print_markdown(rows: &[Row], table: &[Vec<Cells>], payload_bytes: usize) {
    println!(
        "{payload_bytes} B: CPU ns per delivery (first row ÷ this, same turn) ÷messages per write\n"
    );
    let names = SHAPES.map(|(name, _)| name).join(" | ");
    println!("| coordination | delivery | {names} |");
    println!("|---|---|{}", "---|".repeat(SHAPES.len()));
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<_> = table.iter().map(|column| column[index].summary()).collect();
        println!(
            "| {} | {} | {} |",
            row.coordination,
            row.delivery,
            cells.join(" | ")
        );
    }
}
