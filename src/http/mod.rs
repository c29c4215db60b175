//! Requests: which route, which method, who may ask. An upgrade leaves here as a session.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderMap, HeaderValue},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use crate::{fanout::Fanout, node::Node};

mod answer;
mod assets;
mod gate;
mod metrics;
mod process;
mod sse;
mod status;
mod stream;
mod takeover;
mod upgrade;

use answer::Refusal;
use assets::Assets;
use gate::Gate;
use metrics::RequestCounts;
pub(crate) use stream::HttpStream;
pub(crate) use takeover::Handover;
use takeover::Takeover;

/// What is answered.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Where a path leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Page,
    Asset,
    Centrifugo,
    Plain,
    Sse,
    Status,
    Metrics,
    Health,
}

impl Route {
    const ALL: [(&'static str, Self); 8] = [
        ("/", Self::Page),
        ("/assets/{file}", Self::Asset),
        ("/connection/websocket", Self::Centrifugo),
        ("/ws/{room}", Self::Plain),
        ("/sse/{room}", Self::Sse),
        ("/status", Self::Status),
        ("/metrics", Self::Metrics),
        ("/healthz", Self::Health),
    ];

    /// The methods that it has, as `Allow` lists them. An upgrade is never a HEAD.
    fn methods(self) -> &'static [Method] {
        match self {
            Self::Centrifugo | Self::Plain => &[Method::GET],
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
    pub(crate) permit: Arc<tokio::sync::OwnedSemaphorePermit>,
    /// How a request gets it for itself alone.
    pub(crate) handover: Arc<Handover>,
}

/// The HTTP side of the server.
#[derive(Debug)]
pub(crate) struct Http<F: Fanout> {
    node: Arc<Node<F>>,
    router: matchit::Router<Route>,
    gate: Gate,
    assets: Assets,
    requests: RequestCounts,
    /// Where sessions run, so that a drain can wait for them: hyper forgets what it has upgraded.
    sessions: TaskTracker,
    draining: CancellationToken,
}

impl<F: Fanout> Http<F> {
    /// For `node`; sessions run on `sessions`, and none begins once `draining` is cancelled.
    pub(crate) fn new(
        node: Arc<Node<F>>,
        sessions: TaskTracker,
        draining: CancellationToken,
    ) -> Self {
        let mut router = matchit::Router::new();
        for (path, route) in Route::ALL {
            router
                .insert(path, route)
                .expect("the routes don't overlap");
        }
        let gate = Gate::new(node.config());
        Self {
            node,
            router,
            gate,
            assets: Assets::new(),
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
        let route = self.router.at(request.uri().path()).ok();
        let route = route.map(|matched| *matched.value);
        let mut answer = match self.route(connection, &mut request).await {
            Ok(answer) => answer,
            Err(refusal) => {
                let (status, message) = (refusal.status().as_u16(), refusal.message());
                debug!(peer = %connection.peer, status, message, "request refused");
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
        let host = self.gate.check_host(request)?;
        let path = request.uri().path().to_owned();
        let matched = self.router.at(&path).map_err(|_| {
            Refusal::new(
                StatusCode::NOT_FOUND,
                format!("there is nothing at {path:?}"),
            )
        })?;
        let route = *matched.value;
        if !route.methods().contains(request.method()) {
            return Err(Refusal::method_not_allowed(
                request.method(),
                route.methods(),
            ));
        }
        match route {
            Route::Page => Ok(self.assets.page(request, &host)),
            Route::Asset => self
                .assets
                .asset(request, matched.params.get("file").unwrap_or_default()),
            Route::Sse => {
                let room = matched.params.get("room").unwrap_or_default();
                self.listen(request, &host, room).await
            }
            Route::Status if request.headers().contains_key(header::UPGRADE) => {
                self.upgrade_status(connection, request, &host)
            }
            Route::Status => Ok(status::status(&self.node).await),
            Route::Metrics => {
                Ok(metrics::metrics(&self.node, &self.requests, request.headers()).await)
            }
            Route::Health => Ok(status::health()),
            Route::Centrifugo => self.upgrade_centrifugo(connection, request, &host),
            Route::Plain => {
                let room = matched.params.get("room").unwrap_or_default();
                self.upgrade_plain(connection, request, &host, room)
            }
        }
    }
}

/// What no browser is to guess, and no other site to learn.
fn harden(headers: &mut HeaderMap) {
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
}
