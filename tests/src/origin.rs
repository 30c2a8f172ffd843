//! Another origin: a web server beside the worker, as other people's pages have one.

use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower_http::services::ServeDir;

/// The server; gone when dropped.
pub struct Origin {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Origin {
    /// Serves the files of a folder on a free port.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn serve(folder: &Path) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let files = Router::new().fallback_service(ServeDir::new(folder));
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, files).await {
                eprintln!("the other origin is gone: {error}");
            }
        });
        Ok(Self { address, serving })
    }

    /// `http://` and the address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
