//! What the examples on the server share: where they listen, for whom, and until when.

use std::{env, error::Error, net::SocketAddr};

use slabcast::{config::Config, fanout::Fanout, server::Server};
use tokio::signal::unix::{SignalKind, signal};

/// The usual configuration, but for two arguments: the address, and the origin of pages that may connect
/// besides those that are served here, such as `http://localhost:3000`. Beyond loopback, it lets nobody
/// in without a token.
pub(crate) fn config() -> Result<Config, Box<dyn Error>> {
    let mut config = Config::default();
    let mut words = env::args().skip(1).take_while(|word| word != "--");
    if let Some(addr) = words.next() {
        config.listen = addr.parse::<SocketAddr>()?;
    }
    config.allowed_origins.extend(words.next());
    Ok(config)
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
