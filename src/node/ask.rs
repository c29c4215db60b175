//! Who may connect, be where and say what: the embedder's hooks are asked first, where there are any,
//! and then the server's own rules.

use std::{fmt, pin::Pin, sync::Arc};

use serde_json::value::RawValue;
use tracing::error;

use super::{
    Node,
    access::{Credentials, Grant, Identity, check_name},
    error::AccessError,
    hooks::{Arrival, Hooks, RequestHead, RpcError, Wish},
};
use crate::{
    fanout::Fanout,
    id::RoomName,
    protocol::api::on_one_line,
    publication::{ClientInfo, Publication},
};

/// An answer that is awaited without knowing whose it is.
type Awaited<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// [`Hooks`] of any type. In boxes: they are large, and asked seldom or not at all.
pub(crate) trait AnyHooks<F: Fanout>: Send + Sync {
    fn connect<'a>(
        &'a self,
        node: &'a Arc<Node<F>>,
        arrival: Arrival<'a>,
    ) -> Awaited<'a, Result<Option<Identity>, AccessError>>;

    fn subscribe<'a>(
        &'a self,
        node: &'a Arc<Node<F>>,
        wish: Wish<'a>,
    ) -> Awaited<'a, Result<Option<Grant>, AccessError>>;

    fn publish<'a>(
        &'a self,
        node: &'a Arc<Node<F>>,
        client: &'a ClientInfo,
        room: &'a RoomName,
        publication: Publication,
    ) -> Awaited<'a, Result<Option<Publication>, AccessError>>;

    fn rpc<'a>(
        &'a self,
        node: &'a Arc<Node<F>>,
        client: &'a ClientInfo,
        method: &'a str,
        data: Option<&'a RawValue>,
    ) -> Awaited<'a, Result<Box<RawValue>, RpcError>>;

    fn joined<'a>(
        &'a self,
        node: &'a Arc<Node<F>>,
        client: &'a ClientInfo,
        room: &'a RoomName,
    ) -> Awaited<'a, ()>;

    fn left<'a>(
        &'a self,
        node: &'a Arc<Node<F>>,
        client: &'a ClientInfo,
        room: &'a RoomName,
    ) -> Awaited<'a, ()>;
}

impl<F: Fanout, H: Hooks<F>> AnyHooks<F> for H {
    fn connect<'a>(
        &'a self,
        node: &'a Arc<Node<F>>,
        arrival: Arrival<'a>,
    ) -> Awaited<'a, Result<Option<Identity>, AccessError>> {
        Box::pin(Hooks::connect(self, node, arrival))
    }

    fn subscribe<'a>(
        &'a self,
        node: &'a Arc<Node<F>>,
        wish: Wish<'a>,
    ) -> Awaited<'a, Result<Option<Grant>, AccessError>> {
        Box::pin(Hooks::subscribe(self, node, wish))
    }

    fn publish<'a>(
        &'a self,
        node: &'a Arc<Node<F>>,
        client: &'a ClientInfo,
        room: &'a RoomName,
        publication: Publication,
    ) -> Awaited<'a, Result<Option<Publication>, AccessError>> {
        Box::pin(Hooks::publish(self, node, client, room, publication))
    }

    fn rpc<'a>(
        &'a self,
        node: &'a Arc<Node<F>>,
        client: &'a ClientInfo,
        method: &'a str,
        data: Option<&'a RawValue>,
    ) -> Awaited<'a, Result<Box<RawValue>, RpcError>> {
        Box::pin(Hooks::rpc(self, node, client, method, data))
    }

    fn joined<'a>(
        &'a self,
        node: &'a Arc<Node<F>>,
        client: &'a ClientInfo,
        room: &'a RoomName,
    ) -> Awaited<'a, ()> {
        Box::pin(Hooks::joined(self, node, client, room))
    }

    fn left<'a>(
        &'a self,
        node: &'a Arc<Node<F>>,
        client: &'a ClientInfo,
        room: &'a RoomName,
    ) -> Awaited<'a, ()> {
        Box::pin(Hooks::left(self, node, client, room))
    }
}

impl<F: Fanout> fmt::Debug for dyn AnyHooks<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}

impl<F: Fanout> Node<F> {
    /// Who that is, with a place among the connections of its user. `head` is what it came with.
    ///
    /// # Errors
    /// [`AccessError`], when he may not connect, or has as many connections as he may.
    pub(crate) async fn identify(
        self: &Arc<Self>,
        head: Option<&RequestHead>,
        credentials: Credentials<'_>,
        data: Option<&RawValue>,
    ) -> Result<Identity, AccessError> {
        let identity = self.recognise(head, credentials, data).await?;
        self.seated(identity)
    }

    /// The same of somebody who is connected already, and has his place.
    ///
    /// # Errors
    /// [`AccessError`], when he may not be connected any longer.
    pub(crate) async fn recognise(
        self: &Arc<Self>,
        head: Option<&RequestHead>,
        credentials: Credentials<'_>,
        data: Option<&RawValue>,
    ) -> Result<Identity, AccessError> {
        match self.ask_who(head, credentials, data).await? {
            Some(identity) => Ok(identity),
            None => self.access.identify(credentials),
        }
    }

    /// The same for who comes for one room only, with his right to it.
    ///
    /// # Errors
    /// As [`identify`](Self::identify); or he may not be there.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        head: Option<&RequestHead>,
        credentials: Credentials<'_>,
        room: &RoomName,
    ) -> Result<(Identity, Grant), AccessError> {
        let (right, _) = self.rights(room);
        let (identity, by_rules) = match self.ask_who(head, credentials, None).await? {
            Some(identity) => {
                let grant = self.access.grant(&identity.user, room, right, "");
                (identity, grant)
            }
            None => match self.access.admit(credentials, room, right) {
                Ok((identity, grant)) => (identity, Ok(grant)),
                // The rules let him in, but not there. The hooks may.
                Err(error @ AccessError::Forbidden(_)) if self.hooks.is_some() => {
                    (self.access.identify(credentials)?, Err(error))
                }
                Err(error) => return Err(error),
            },
        };
        let wish = Wish {
            user: &identity.user,
            client: None,
            room,
            token: credentials.token,
            data: None,
        };
        let grant = match self.ask_where(wish).await? {
            Some(grant) => grant,
            None => by_rules?,
        };
        Ok((self.seated(identity)?, grant))
    }

    /// The right to be in a room.
    ///
    /// # Errors
    /// [`AccessError`], when he has none.
    pub(crate) async fn grant(self: &Arc<Self>, wish: Wish<'_>) -> Result<Grant, AccessError> {
        if let Some(grant) = self.ask_where(wish).await? {
            return Ok(grant);
        }
        let (right, _) = self.rights(wish.room);
        self.access.grant(wish.user, wish.room, right, wish.token)
    }

    /// Whether only this machine can connect, and everybody on it may. Where hooks are asked, nobody
    /// knows that.
    pub(crate) fn is_open_here(&self) -> bool {
        let config = &self.config;
        config.listen.ip().is_loopback() && config.anonymous() && self.hooks.is_none()
    }

    /// What the embedder decides, if it does.
    pub(crate) fn hooks(&self) -> Option<&dyn AnyHooks<F>> {
        self.hooks.as_deref()
    }

    async fn ask_who(
        self: &Arc<Self>,
        head: Option<&RequestHead>,
        credentials: Credentials<'_>,
        data: Option<&RawValue>,
    ) -> Result<Option<Identity>, AccessError> {
        let (Some(hooks), Some(head)) = (self.hooks(), head) else {
            return Ok(None);
        };
        let arrival = Arrival {
            head,
            credentials,
            data,
        };
        let Some(identity) = hooks.connect(self, arrival).await? else {
            return Ok(None);
        };
        Ok(Some(Identity {
            info: identity.info.map(shown).transpose()?,
            ..identity
        }))
    }

    async fn ask_where(self: &Arc<Self>, wish: Wish<'_>) -> Result<Option<Grant>, AccessError> {
        let Some(hooks) = self.hooks() else {
            return Ok(None);
        };
        let Some(grant) = hooks.subscribe(self, wish).await? else {
            return Ok(None);
        };
        // Whose a room is, its name says, whoever else is let in elsewhere.
        check_name(wish.user, wish.room)?;
        Ok(Some(Grant {
            info: grant.info.map(shown).transpose()?,
            ..grant
        }))
    }

    fn seated(&self, identity: Identity) -> Result<Identity, AccessError> {
        if identity.user.is_anonymous() {
            return Ok(identity);
        }
        let place = self.users.take(identity.user.clone());
        let connections_max = self.users.max();
        let place = place.ok_or(AccessError::UserLimit { connections_max })?;
        Ok(Identity {
            place: Some(Arc::new(place)),
            ..identity
        })
    }
}

/// What a hook lets others know of somebody, in the form in which it is shown to all of them: had it
/// another one, they would suffer from it.
fn shown(info: Box<str>) -> Result<Box<str>, AccessError> {
    let json: Box<RawValue> = serde_json::from_str(&info).map_err(|error| {
        error!(%error, "a hook gave an info that is not JSON, and its client is refused");
        AccessError::Forbidden("the server can't say who you are".to_owned())
    })?;
    Ok(on_one_line(json.get()).into())
}
