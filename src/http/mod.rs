//! Requests: which route, which method, who may ask. An upgrade leaves here as a session.

use std::{
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::Arc,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderMap, HeaderValue},
};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, error};

use crate::{
    config::Secret,
    fanout::Fanout,
    node::{Budget, Node, Share, Spending},
    protocol::api::Method as ApiMethod,
    sync::Mutex,
};

mod answer;
mod api;
mod assets;
mod body;
mod gate;
mod metrics;
mod process;
mod routes;
mod send;
mod sse;
mod status;
mod stream;
mod takeover;
mod upgrade;

use answer::Refusal;
use api::{Api, ApiKey, Call};
use assets::Assets;
use gate::Gate;
use metrics::RequestCounts;
pub(crate) use routes::{OwnRoutes, Router, page};
pub use routes::{PathParameters, Peer};
pub(crate) use stream::HttpStream;
pub(crate) use takeover::Handover;
use takeover::Takeover;
use upgrade::room_of;

/// What is answered.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Where it says what there is.
const DESCRIPTION: &str = "/openapi.yaml";

/// Where a path leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Page,
    Asset,
    Centrifugo,
    Plain,
    Send,
    Api(Call),
    Sse,
    Status,
    Metrics,
    Health,
    Ready,
    OpenApi,
    /// The embedder's, by its index.
    Own(usize),
}

impl Route {
    const ALL: [(&'static str, Self); 24] = [
        ("/", Self::Page),
        ("/assets/{file}", Self::Asset),
        ("/connection/websocket", Self::Centrifugo),
        ("/ws/{room}", Self::Plain),
        ("/sse/{room}", Self::Sse),
        ("/status", Self::Status),
        ("/metrics", Self::Metrics),
        ("/healthz", Self::Health),
        ("/readyz", Self::Ready),
        (DESCRIPTION, Self::OpenApi),
        ("/send", Self::Send),
        ("/api", Self::Api(Call::Lines)),
        ("/api/batch", Self::Api(Call::Batch)),
        ("/api/publish", Self::Api(Call::One(ApiMethod::Publish))),
        ("/api/broadcast", Self::Api(Call::One(ApiMethod::Broadcast))),
        ("/api/presence", Self::Api(Call::One(ApiMethod::Presence))),
        (
            "/api/presence_stats",
            Self::Api(Call::One(ApiMethod::PresenceStats)),
        ),
        ("/api/history", Self::Api(Call::One(ApiMethod::History))),
        (
            "/api/history_remove",
            Self::Api(Call::One(ApiMethod::HistoryRemove)),
        ),
        ("/api/channels", Self::Api(Call::One(ApiMethod::Channels))),
        ("/api/info", Self::Api(Call::One(ApiMethod::Info))),
        ("/api/subscribe", Self::Api(Call::One(ApiMethod::Subscribe))),
        (
            "/api/unsubscribe",
            Self::Api(Call::One(ApiMethod::Unsubscribe)),
        ),
        (
            "/api/disconnect",
            Self::Api(Call::One(ApiMethod::Disconnect)),
        ),
    ];

    /// The methods that it has, as `Allow` lists them. An upgrade is never a HEAD.
    fn methods(self) -> &'static [Method] {
        match self {
            Self::Centrifugo | Self::Plain => &[Method::GET],
            Self::Send => &[Method::GET, Method::POST],
            Self::Api(_) => &[Method::POST],
            Self::Own(_) => &[],
            _ => &[Method::GET, Method::HEAD],
        }
    }
}

/// One connection, as its requests see it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// The other end.
    pub(crate) peer: SocketAddr,
    /// The right to be connected; the last holder's end gives it back.
    pub(crate) permit: Arc<Permit>,
    /// What it may ask for in a second. Taken alone, by the connection's own task only.
    pub(crate) budget: Option<Arc<Mutex<Budget>>>,
    /// How a request gets it for itself alone.
    pub(crate) handover: Arc<Handover>,
}

/// The right to be connected: a place among all connections, and one among those of an address.
#[derive(Debug)]
pub(crate) struct Permit {
    pub(crate) _place: OwnedSemaphorePermit,
    pub(crate) _share: Share<IpAddr>,
}

/// The HTTP side of the server.
#[derive(Debug)]
pub(crate) struct Http<F: Fanout> {
    node: Arc<Node<F>>,
    router: Router<F>,
    gate: Gate,
    assets: Assets,
    api: Arc<Api>,
    requests: RequestCounts,
    /// Where sessions run, so that a drain can wait for them: hyper forgets what it has upgraded.
    sessions: TaskTracker,
    draining: CancellationToken,
}

impl<F: Fanout> Http<F> {
    /// For `node`; sessions run on `sessions`, and none begins once `draining` is cancelled.
    pub(crate) fn new(
        node: Arc<Node<F>>,
        router: Router<F>,
        api_key: &Secret,
        sessions: TaskTracker,
        draining: CancellationToken,
    ) -> Self {
        let gate = Gate::new(node.config());
        Self {
            node,
            router,
            gate,
            assets: Assets::new(),
            api: Api::new(ApiKey::new(api_key)),
            requests: RequestCounts::default(),
            sessions,
            draining,
        }
    }

    /// Answers one request.
    pub(crate) async fn answer(
        &self,
        connection: &Connection,
        mut request: Request<Incoming>,
    ) -> Answer {
        self.node.counters().requests.add(1);
        let route = self.router.at(request.uri().path());
        let route = route.map(|matched| *matched.value);
        // A bug in an answer, ours or the embedder's, ends that answer only: it had nothing of the
        // connection's in hand but its own request.
        let routed = AssertUnwindSafe(self.route(connection, &mut request)).catch_unwind();
        let routed = routed.await.unwrap_or_else(|_| {
            let (method, path) = (request.method(), request.uri().path());
            error!(peer = %connection.peer, %method, ?path, "a bug in the answer to a request");
            Err(Refusal::bug())
        });
        let mut answer = match routed {
            Ok(answer) => answer,
            Err(refusal) => {
                let (status, detail) = (refusal.status().as_u16(), refusal.message());
                debug!(peer = %connection.peer, status, ?detail, "request refused");
                refusal.into_answer()
            }
        };
        self.requests.count(route, answer.status());
        harden(answer.headers_mut());
        if let Some(takeover) = answer.extensions_mut().remove::<Takeover>() {
            return self.hand_over(connection, &answer, takeover).await;
        }
        answer
    }

    async fn route(
        &self,
        connection: &Connection,
        request: &mut Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        // First of all, so that what is refused for another reason counts, too.
        self.check_budget(connection, request.headers())?;
        gate::check_framing(request.headers())?;
        // Whoever is not sure where a request belongs need not guess what comes behind it.
        let host = self.gate.check_host(request).map_err(Refusal::closing)?;
        let path = request.uri().path().to_owned();
        let matched = self.router.at(&path).ok_or_else(|| {
            let mut message = format!("there is nothing at {path:?}");
            // Which an embedder may have left out, or put something else there.
            let described = self.router.at(DESCRIPTION);
            if described.is_some_and(|matched| *matched.value == Route::OpenApi) {
                message.push_str(&format!("; {DESCRIPTION} says what there is"));
            }
            Refusal::new(StatusCode::NOT_FOUND, message)
        })?;
        let route = *matched.value;
        let methods = self.router.methods(route);
        if !methods.contains(request.method()) {
            return Err(Refusal::method_not_allowed(request.method(), &methods));
        }
        match route {
            Route::Own(index) => {
                let parameters = PathParameters::new(matched.params.iter());
                self.own(connection, request, &host, (index, parameters))
                    .await
            }
            Route::Page => Ok(self.assets.page(request, &host)),
            Route::Asset => self
                .assets
                .asset(request, matched.params.get("file").unwrap_or_default()),
            Route::Sse => {
                let room = room_of(matched.params.get("room").unwrap_or_default())?;
                self.listen(connection, request, &host, room).await
            }
            Route::Status if upgrade::is_wanted(request) => {
                self.upgrade_status(connection, request, &host)
            }
            Route::Status => Ok(status::status(&self.node).await),
            Route::Metrics => {
                Ok(metrics::metrics(&self.node, &self.requests, request.headers()).await)
            }
            Route::Health => Ok(status::health()),
            Route::Ready => status::ready(self.draining.is_cancelled()),
            Route::OpenApi => Ok(self.assets.openapi(request)),
            Route::Send => self.send(request, &host).await,
            Route::Api(call) => self.api(call, request).await,
            Route::Centrifugo => self.upgrade_centrifugo(connection, request, &host),
            Route::Plain => {
                let room = room_of(matched.params.get("room").unwrap_or_default())?;
                self.upgrade_plain(connection, request, &host, room).await
            }
        }
    }

    /// Whether the connection may ask for something more by now. Whoever has the API key is trusted.
    fn check_budget(&self, connection: &Connection, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(budget) = &connection.budget else {
            return Ok(());
        };
        if self.api.key.check(headers).is_ok() {
            return Ok(());
        }
        let (spending, per_second) = {
            let mut budget = budget.lock();
            (budget.spend(), budget.per_second())
        };
        if spending == Spending::Within {
            return Ok(());
        }
        Err(Refusal::too_many(format!(
            "more than {per_second} requests a second on this connection \
             (limits.commands_per_second), slow down"
        )))
    }

    /// Whether there is still time for what takes some.
    fn check_draining(&self) -> Result<(), Refusal> {
        if self.draining.is_cancelled() {
            return Err(Refusal::draining());
        }
        Ok(())
    }
}

/// What no browser is to guess, and no other site to learn.
fn harden(headers: &mut HeaderMap) {
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::REFERRER_POLICY)
        .or_insert(HeaderValue::from_static("no-referrer"));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_api_method_has_the_path_of_its_name() {
        for method in ApiMethod::ALL {
            let path = format!("/api/{}", method.name());
            assert!(
                Route::ALL.contains(&(path.as_str(), Route::Api(Call::One(method)))),
                "{path}"
            );
        }
    }

    /// The paths and methods of the description, by its indentation.
    fn described() -> BTreeSet<(String, String)> {
        let text = include_str!("../../docs/openapi.yaml");
        let paths = text.split_once("\npaths:\n").unwrap().1;
        let mut found = BTreeSet::new();
        let mut path = "";
        for line in paths.lines() {
            let indent = line.len() - line.trim_start().len();
            match (indent, line.trim().strip_suffix(':')) {
                (0, Some(_)) => break,
                (2, Some(name)) => path = name,
                (4, Some(method @ ("get" | "head" | "post" | "put" | "delete"))) => {
                    assert!(
                        found.insert((path.to_owned(), method.to_uppercase())),
                        "{line}"
                    );
                }
                (4, _) if !line.trim().is_empty() => panic!("not a method: {line}"),
                _ => {}
            }
        }
        found
    }

    #[test]
    fn the_description_has_every_route_and_method_and_no_other() {
        let routed: BTreeSet<_> = Route::ALL
            .iter()
            .flat_map(|(path, route)| {
                let methods = route.methods().iter();
                methods.map(|method| ((*path).to_owned(), method.to_string()))
            })
            .collect();
        assert_eq!(routed, described());
    }
}
