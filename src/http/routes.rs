//! Routes of the embedder's own, beside ours.

use std::{borrow::Cow, collections::HashSet, fmt, net::SocketAddr, pin::Pin, sync::Arc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response,
    body::Incoming,
    header::{self, HeaderValue},
};
use percent_encoding::percent_decode_str;

use super::{Answer, Connection, Http, Route, answer::Refusal, body, gate::Host};
use crate::{fanout::Fanout, id::RoomName, node::Node};

/// Where a request of the embedder's came from: an extension of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// What stood in a request's path in the place of the parts in braces: an extension of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathParameters(Vec<(String, String)>);

impl PathParameters {
    pub(super) fn new<'a>(found: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Self(
            found
                .map(|(name, text)| (name.to_owned(), decoded(text)))
                .collect(),
        )
    }

    /// What stood in the place of `{name}`, percent-decoded; what is no UTF-8 is replaced.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(other, _)| other == name);
        found.map(|(_, text)| text.as_str())
    }
}

/// Answers one request.
type Handler<F> = dyn Fn(Arc<Node<F>>, Request<Bytes>) -> Answering + Send + Sync;

type Answering = Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;

/// What an own path leads to.
enum OwnRoute<F: Fanout> {
    /// A handler for each method.
    Handlers(Vec<(Method, Box<Handler<F>>)>),
    /// Plain broadcast in one room.
    Plain(RoomName),
}

impl<F: Fanout> OwnRoute<F> {
    /// A method with two handlers, of which one would never be asked.
    fn doubled_method(&self) -> Option<&Method> {
        let Self::Handlers(handlers) = self else {
            return None;
        };
        let mut seen = HashSet::new();
        let mut methods = handlers.iter().map(|(method, _)| method);
        methods.find(|method| !seen.insert(*method))
    }

    /// Who answers that method. What a GET answers, a HEAD asks about, unless it has a handler of its
    /// own: hyper leaves the body out.
    fn handler(&self, method: &Method) -> Option<&Handler<F>> {
        let Self::Handlers(handlers) = self else {
            return None;
        };
        let of = |wanted: &Method| {
            let mut found = handlers.iter().filter(|(method, _)| method == wanted);
            found.next().map(|(_, handler)| &**handler)
        };
        of(method).or_else(|| (method == Method::HEAD).then(|| of(&Method::GET))?)
    }
}

/// The embedder's routes, by path.
pub(crate) struct OwnRoutes<F: Fanout> {
    routes: Vec<(String, OwnRoute<F>)>,
    /// Whether there are no others.
    pub(crate) is_alone: bool,
}

impl<F: Fanout> Default for OwnRoutes<F> {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            is_alone: false,
        }
    }
}

impl<F: Fanout> fmt::Debug for OwnRoutes<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.routes.iter().map(|(path, _)| path);
        f.debug_list().entries(paths).finish()
    }
}

impl<F: Fanout> OwnRoutes<F> {
    /// Has `handler` answer `method` at `path`.
    pub(crate) fn handle<H, A>(&mut self, method: Method, path: &str, handler: H)
    where
        H: Fn(Arc<Node<F>>, Request<Bytes>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Bytes>> + Send + 'static,
    {
        let handler: Box<Handler<F>> =
            Box::new(move |node, request| Box::pin(handler(node, request)));
        let at = self.routes.iter_mut().find(|(other, _)| other == path);
        match at {
            Some((_, OwnRoute::Handlers(handlers))) => handlers.push((method, handler)),
            _ => self.insert(path, OwnRoute::Handlers(vec![(method, handler)])),
        }
    }

    /// Lets those who connect to `path` speak plain broadcast in `room`.
    pub(crate) fn plain(&mut self, path: &str, room: RoomName) {
        self.insert(path, OwnRoute::Plain(room));
    }

    fn insert(&mut self, path: &str, route: OwnRoute<F>) {
        self.routes.push((path.to_owned(), route));
    }

    /// The methods that the route of that index has, as `Allow` lists them.
    fn methods(&self, index: usize) -> Vec<Method> {
        match &self.routes[index].1 {
            OwnRoute::Plain(_) => vec![Method::GET],
            OwnRoute::Handlers(handlers) => {
                let mut methods: Vec<_> =
                    handlers.iter().map(|(method, _)| method.clone()).collect();
                if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
                    methods.push(Method::HEAD);
                }
                methods
            }
        }
    }
}

/// Where every path leads, ours and the embedder's.
#[derive(Debug)]
pub(crate) struct Router<F: Fanout> {
    pub(super) router: matchit::Router<Route>,
    pub(super) own: OwnRoutes<F>,
}

/// A path of the embedder's that can't be one.
#[derive(Debug)]
pub(crate) struct RouteError {
    pub(crate) path: String,
    pub(crate) problem: String,
}

impl<F: Fanout> Router<F> {
    /// With the embedder's routes first: where one of ours would lead to the same, it is left out.
    pub(crate) fn new(own: OwnRoutes<F>) -> Result<Self, RouteError> {
        let mut router = matchit::Router::new();
        for (index, (path, route)) in own.routes.iter().enumerate() {
            let refuse = |problem: String| RouteError {
                path: path.to_owned(),
                problem,
            };
            if !path.starts_with('/') {
                return Err(refuse("a path begins with a slash".to_owned()));
            }
            if let Some(method) = route.doubled_method() {
                return Err(refuse(format!("there are two handlers of {method} for it")));
            }
            let inserted = router.insert(path, Route::Own(index));
            inserted.map_err(|error| match error {
                matchit::InsertError::Conflict { with } => {
                    refuse(format!("it can't be told from {with:?}, which has a route"))
                }
                error => refuse(error.to_string()),
            })?;
        }
        if !own.is_alone {
            for (path, route) in Route::ALL {
                match router.insert(path, route) {
                    Ok(()) | Err(matchit::InsertError::Conflict { .. }) => {}
                    Err(error) => unreachable!("{path} is a path of ours: {error}"),
                }
            }
        }
        Ok(Self { router, own })
    }

    /// Where `path` leads, and what it has in the place of parameters.
    pub(super) fn at<'a>(&self, path: &'a str) -> Option<matchit::Match<'_, 'a, &Route>> {
        self.router.at(path).ok()
    }

    /// The methods that a route has, as `Allow` lists them.
    pub(super) fn methods(&self, route: Route) -> Cow<'static, [Method]> {
        match route {
            Route::Own(index) => self.own.methods(index).into(),
            route => route.methods().into(),
        }
    }
}

impl<F: Fanout> Http<F> {
    /// Has the embedder answer: whose page that is has been checked like for ours.
    pub(super) async fn own(
        &self,
        connection: &Connection,
        request: &mut Request<Incoming>,
        host: &Host,
        (index, parameters): (usize, PathParameters),
    ) -> Result<Answer, Refusal> {
        let route = &self.router.own.routes[index].1;
        if let OwnRoute::Plain(room) = route {
            let upgrading = self.upgrade_plain(connection, request, host, room.clone());
            return upgrading.await;
        }
        self.gate.check_origin(request.headers(), host)?;
        let config = self.node.config();
        let deadline = config.timeouts.request_body;
        let body = body::read(request, config.limits.message_bytes, deadline).await?;
        let mut whole = Request::new(body);
        *whole.method_mut() = request.method().clone();
        *whole.uri_mut() = request.uri().clone();
        *whole.headers_mut() = request.headers().clone();
        whole.extensions_mut().insert(Peer(connection.peer));
        whole.extensions_mut().insert(parameters);
        let handler = route
            .handler(request.method())
            .expect("the methods of every route are checked before");
        let mut answer = handler(self.node.clone(), whole).await.map(Full::new);
        // With ours, a browser would not say from where the embedder's own forms are sent.
        answer
            .headers_mut()
            .entry(header::REFERRER_POLICY)
            .or_insert(HeaderValue::from_static("same-origin"));
        Ok(answer)
    }
}

/// A page of HTML, made before.
pub(crate) fn page(html: Bytes) -> Response<Bytes> {
    let mut answer = Response::new(html);
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
    ] {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    answer
}
