//! A wire between a browser and the worker that can be cut.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::worker::Worker;

/// The wire; gone when dropped.
pub struct Proxy {
    address: SocketAddr,
    is_whole: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port and passes everything on to `worker`.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(worker: &Worker) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (is_whole, whole) = watch::channel(true);
        let target = worker.address().to_owned();
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(pass_on(near, target.clone(), whole.clone()));
            }
        });
        Ok(Self { address, is_whole, accepting })
    }

    /// `http://` and the address of the near end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Drops every connection, and every new one until [`Proxy::mend`].
    pub fn cut(&self) {
        self.is_whole.send_replace(false);
    }

    /// Lets new connections through again.
    pub fn mend(&self) {
        self.is_whole.send_replace(true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

/// Passes bytes on until either side ends or the wire is cut; both ends close when this returns.
async fn pass_on(mut near: TcpStream, target: String, mut whole: watch::Receiver<bool>) {
    if !*whole.borrow_and_update() {
        return;
    }
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = whole.wait_for(|whole| !whole) => {}
    }
}
