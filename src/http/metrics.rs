//! `/metrics`: what the node, the HTTP side and the process count, as Prometheus reads it.
//!
//! Nothing is counted twice for it: a scrape looks at the same numbers as `/status`. Rooms and users
//! are no labels, because there is no end of them.

use std::fmt;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{self, HeaderMap, HeaderValue},
};
use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, NoLabelSet, text,
    },
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::{Answer, Route, process::Process};
use crate::{
    fanout::Fanout,
    metrics::Counter,
    node::{Node, NodeStatus},
};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The status codes that have counters of their own.
const CODES: [u16; 13] = [
    101, 200, 304, 400, 401, 403, 404, 405, 413, 426, 429, 500, 503,
];

/// Requests, by route and by code. The last of each stands for all others.
#[derive(Debug, Default)]
pub(super) struct RequestCounts([[Counter; CODES.len() + 1]; Route::ALL.len() + 2]);

impl RequestCounts {
    pub(super) fn count(&self, route: Option<Route>, status: StatusCode) {
        let is_it = |(_, other): &(&str, Route)| Some(*other) == route;
        let row = match route {
            Some(Route::Own(_)) => Route::ALL.len(),
            None => Route::ALL.len() + 1,
            // All others are in the list.
            Some(_) => Route::ALL.iter().position(is_it).unwrap_or_default(),
        };
        let column = CODES.iter().position(|code| *code == status.as_u16());
        self.0[row][column.unwrap_or(CODES.len())].add(1);
    }

    /// Those that there were.
    fn entries(&self) -> Vec<RequestCount> {
        let routes = Route::ALL
            .iter()
            .map(|(path, _)| *path)
            .chain(["own", "none"]);
        let rows = routes.zip(&self.0);
        let entries = rows.flat_map(|(route, row)| {
            let codes = CODES.iter().map(u16::to_string).chain(["other".to_owned()]);
            codes.zip(row).map(move |(code, counter)| RequestCount {
                route,
                code,
                count: counter.value(),
            })
        });
        entries.filter(|entry| entry.count > 0).collect()
    }
}

#[derive(Debug)]
struct RequestCount {
    route: &'static str,
    code: String,
    count: u64,
}

/// The answer to a scrape, in the form that it asks for.
pub(super) async fn metrics<F: Fanout>(
    node: &Node<F>,
    requests: &RequestCounts,
    headers: &HeaderMap,
) -> Answer {
    let snapshot = Snapshot {
        status: node.status(0).await,
        requests: requests.entries(),
        // It reads files, though none of them is on a disk.
        process: tokio::task::spawn_blocking(Process::read)
            .await
            .unwrap_or_default(),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut body = String::new();
    text::encode(&mut body, &registry).expect("a string takes all, and our labels are strings");
    let accepts = headers.get_all(header::ACCEPT).iter();
    let is_open_metrics = accepts
        .filter_map(|accept| accept.to_str().ok())
        .any(|accept| accept.contains("application/openmetrics-text"));
    let (content_type, body) = if is_open_metrics {
        (OPEN_METRICS, body)
    } else {
        (TEXT, as_text_format(&body))
    };
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, "accept"),
    ] {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// OpenMetrics in Prometheus' older text format, which everything reads: there, a counter is announced
/// by the name that it has in its samples, and nothing announces the end.
fn as_text_format(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len() + open_metrics.len() / 8);
    let mut help = None;
    for line in open_metrics.lines() {
        if line.starts_with("# HELP ") {
            help = line
                .strip_prefix("# HELP ")
                .and_then(|rest| rest.split_once(' '));
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            let suffix = if kind == "counter" { "_total" } else { "" };
            let help = help.take().map_or("", |(_, text)| text);
            let announced = format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
            out.push_str(&announced);
        } else if line != "# EOF" {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// All numbers of one scrape.
#[derive(Debug)]
struct Snapshot {
    status: NodeStatus,
    requests: Vec<RequestCount>,
    process: Process,
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        self.encode_connections(&mut families)?;
        self.encode_rooms(&mut families)?;
        self.encode_http(&mut families)?;
        self.encode_process(&mut families)
    }
}

impl Snapshot {
    fn encode_connections(&self, families: &mut Families<'_>) -> fmt::Result {
        let status = &self.status;
        families.info(
            "slabcast_build_info",
            "What runs here",
            &[("version", status.version), ("engine", status.engine)],
        )?;
        families.gauge(
            "slabcast_connections",
            "Sessions: WebSocket connections and server-sent event streams",
            status.connections,
        )?;
        families.counter(
            "slabcast_connections_opened",
            "Sessions that began",
            status.opened,
        )?;
        families.counters(
            "slabcast_connections_closed",
            "Sessions that ended, by reason",
            status
                .closed
                .iter()
                .map(|(reason, count)| ([("reason", *reason)], *count)),
        )?;
        families.gauge(
            "slabcast_users",
            "Different users among the sessions, not counting anonymous ones",
            status.users,
        )?;
        families.counter(
            "slabcast_connections_accepted",
            "TCP connections accepted, those that only asked for a page among them",
            status.accepted,
        )?;
        families.counter(
            "slabcast_connections_turned_away",
            "TCP connections turned away because the node was full",
            status.turned_away,
        )?;
        families.counter(
            "slabcast_accept_errors",
            "Accepts that failed",
            status.accept_errors,
        )
    }

    fn encode_rooms(&self, families: &mut Families<'_>) -> fmt::Result {
        let status = &self.status;
        let deliveries = &status.deliveries;
        families.gauge("slabcast_rooms", "Rooms", status.num_rooms)?;
        families.gauge(
            "slabcast_subscriptions",
            "Members of all rooms together",
            status.subscriptions,
        )?;
        families.gauge(
            "slabcast_frames_pending",
            "Frames that members have still to get",
            deliveries.pending,
        )?;
        families.gauge(
            "slabcast_history_bytes",
            "Payload that all histories hold",
            status.history_bytes,
        )?;
        families.gauge(
            "slabcast_feed_bytes",
            "Encoded frames that all rooms hold for their members",
            status.feed_bytes,
        )?;
        families.gauge(
            "slabcast_feed_memory_bytes",
            "What these and others not yet let go take, in buffers, as limits.feed_bytes counts it",
            status.feed_memory_bytes,
        )?;
        for (name, help, value) in [
            (
                "slabcast_messages_published",
                "Publications that rooms took",
                status.published,
            ),
            (
                "slabcast_rooms_evicted",
                "Rooms let go before their histories ended, because there were as many as may be",
                status.rooms_evicted,
            ),
            (
                "slabcast_frames_due",
                "Frames times the members that they were for",
                deliveries.due,
            ),
            (
                "slabcast_frames_delivered",
                "Frames handed to the kernel whole",
                deliveries.delivered,
            ),
            (
                "slabcast_frames_skipped",
                "Frames that slow members were moved past",
                deliveries.skipped,
            ),
            (
                "slabcast_frames_discarded",
                "Frames that were still waiting when their member left",
                deliveries.discarded,
            ),
            (
                "slabcast_received_bytes",
                "Bytes that sessions read",
                status.received_bytes,
            ),
            (
                "slabcast_sent_bytes",
                "Bytes that sessions wrote",
                status.sent_bytes,
            ),
        ] {
            families.counter(name, help, value)?;
        }
        Ok(())
    }

    fn encode_http(&self, families: &mut Families<'_>) -> fmt::Result {
        families.counters(
            "slabcast_http_requests",
            "HTTP requests answered, upgrades among them, by route and status code",
            self.requests
                .iter()
                .map(|entry| ([("route", entry.route), ("code", &entry.code)], entry.count)),
        )
    }

    /// What Prometheus' own client libraries say of their processes, under the same names. What can't
    /// be learnt here is left out.
    fn encode_process(&self, families: &mut Families<'_>) -> fmt::Result {
        let process = &self.process;
        if let Some(seconds) = process.cpu_seconds {
            families.counter(
                "process_cpu_seconds",
                "User and system CPU time spent",
                seconds,
            )?;
        }
        if let Some(seconds) = process.start_time_seconds {
            let help = "Start time of the process since the Unix epoch";
            families.gauge("process_start_time_seconds", help, seconds)?;
        }
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Resident memory size",
                process.resident_bytes,
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory size",
                process.virtual_bytes,
            ),
            (
                "process_open_fds",
                "Open file descriptors",
                process.open_descriptors,
            ),
            (
                "process_max_fds",
                "The most file descriptors that may be open",
                process.descriptors_max,
            ),
        ] {
            if let Some(value) = value {
                families.gauge(name, help, value)?;
            }
        }
        Ok(())
    }
}

/// Writes one metric family after the other. The encoder puts `_total` behind a counter's name.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(encoder)
    }

    fn counter(&mut self, name: &str, help: &str, value: impl EncodeCounterValue) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(encoder)
    }

    /// A counter for each set of labels.
    fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        entries: impl Iterator<Item = ([(&'static str, &'l str); N], u64)>,
    ) -> fmt::Result {
        let mut encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in entries {
            encoder
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    /// A gauge that is always 1, for what its labels say.
    fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result {
        let mut encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        encoder.encode_family(&labels)?.encode_gauge(&1_i64)
    }
}
