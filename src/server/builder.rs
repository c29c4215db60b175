//! What an embedder adds to the server before it listens.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use tokio::net::TcpListener;

use super::{ServeError, Server, listen};
use crate::{
    config::Config,
    fanout::Fanout,
    http::{OwnRoutes, page},
    id::RoomName,
    node::{AnyHooks, Hooks, Node},
};

/// A server that does not listen yet. [`Server::builder`] begins one.
#[derive(Debug)]
pub struct Builder<F: Fanout> {
    pub(super) config: Config,
    pub(super) hooks: Option<Box<dyn AnyHooks<F>>>,
    pub(super) own: OwnRoutes<F>,
}

impl<F: Fanout> Builder<F> {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            hooks: None,
            own: OwnRoutes::default(),
        }
    }

    /// Asks `hooks` who may connect, be where and say what. They may know people without any token, so
    /// a server with hooks may listen anywhere without tokens: whoever they leave to it is refused
    /// there, unless anonymous access is allowed.
    #[must_use]
    pub fn hooks(mut self, hooks: impl Hooks<F>) -> Self {
        self.hooks = Some(Box::new(hooks));
        self
    }

    /// Has `handler` answer requests of that method for `path`, with the node to publish by. A part of
    /// a path in braces stands for any text without a slash (`/orders/{id}`), and `{*rest}` for
    /// whatever comes.
    ///
    /// What is checked for our own routes is checked before: `Host`, `Origin` if there is one (so that
    /// another site's page can't post here; it still can have a browser GET), requests in a second,
    /// and that the body is no longer than `limits.message_bytes` and there within
    /// `timeouts.request_body`. What stood in the braces is [`PathParameters`](super::PathParameters),
    /// and where it came from is [`Peer`](super::Peer): both are extensions of the request. A GET route
    /// answers HEAD, too, where that has no handler of its own. At a path of ours, the handler takes its
    /// place; two of one's own for the same method and path, or for paths that can't be told apart, are
    /// refused when the server is bound. If the peer goes before it is answered, the handler is dropped
    /// where it waits: spawn what has to be finished. One that panics is answered for, with 500.
    #[must_use]
    pub fn route<H, A>(mut self, method: Method, path: &str, handler: H) -> Self
    where
        H: Fn(Arc<Node<F>>, Request<Bytes>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Bytes>> + Send + 'static,
    {
        self.own.handle(method, path, handler);
        self
    }

    /// Shows `html` at `path`. It may do what its own policy allows: ours is for our page alone.
    #[must_use]
    pub fn page(self, path: &str, html: impl Into<Bytes>) -> Self {
        let html = html.into();
        self.route(Method::GET, path, move |_, _| {
            std::future::ready(page(html.clone()))
        })
    }

    /// Lets WebSockets that connect to `path` speak plain broadcast in `room`: what one says goes to
    /// all of them. As `/ws/{room}` does for any room, with the same parameters.
    #[must_use]
    pub fn plain(mut self, path: &str, room: RoomName) -> Self {
        self.own.plain(path, room);
        self
    }

    /// Leaves out all routes of ours: only what is added here is answered.
    #[must_use]
    pub fn only_own_routes(mut self) -> Self {
        self.own.is_alone = true;
        self
    }

    /// Checks the configuration and begins to listen. Connections wait until [`Server::run`].
    ///
    /// # Errors
    /// [`ServeError`], when the configuration makes no sense, a route can't be one, or the address
    /// can't be had.
    pub async fn bind(mut self) -> Result<Server<F>, ServeError> {
        self = self.validate()?;
        let addr = self.config.listen;
        let bind_error = |source| ServeError::Bind { addr, source };
        let listener = listen(addr).map_err(bind_error)?;
        let local_addr = listener.local_addr().map_err(bind_error)?;
        Server::with_listener(listener, local_addr, self)
    }

    /// The same on a socket that listens already: see [`Server::on`].
    ///
    /// # Errors
    /// As [`bind`](Self::bind); or the socket can't be used.
    ///
    /// # Panics
    /// Outside of a Tokio runtime, which the socket is registered with.
    pub fn on(mut self, listener: std::net::TcpListener) -> Result<Server<F>, ServeError> {
        let local_addr = listener.local_addr().map_err(ServeError::Socket)?;
        self.config.listen = local_addr;
        self = self.validate()?;
        listener.set_nonblocking(true).map_err(ServeError::Socket)?;
        let listener = TcpListener::from_std(listener).map_err(ServeError::Socket)?;
        Server::with_listener(listener, local_addr, self)
    }

    fn validate(self) -> Result<Self, ServeError> {
        let config = self.config.validate_for(self.hooks.is_some());
        Ok(Self {
            config: config.map_err(ServeError::Config)?,
            ..self
        })
    }
}
