//! What the examples on the server share: where they listen, and until when.

use std::{env, error::Error, net::SocketAddr};

use slabcast::{config::Config, fanout::Fanout, server::Server};
use tokio::signal::unix::{SignalKind, signal};

/// The usual configuration, but for the address, which is the first argument. Beyond loopback, it lets
/// nobody in without a token.
pub(crate) fn config() -> Result<Config, Box<dyn Error>> {
    let usual = Config::default();
    let listen = match env::args().nth(1) {
        Some(addr) => addr.parse::<SocketAddr>()?,
        None => usual.listen,
    };
    Ok(Config { listen, ..usual })
}

/// Says where it is, and serves until SIGINT or SIGTERM. Then nobody new is let in, what was said is
/// delivered, and all are told to go.
pub(crate) async fn serve<F: Fanout>(server: Server<F>) -> Result<(), Box<dyn Error>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    println!("listening on http://{}/", server.local_addr());
    let stopped = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    Ok(server.run(stopped).await?)
}
