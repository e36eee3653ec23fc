//! The server on loopback, on a thread of its own, for clients in other processes and clients that meet a server that
//! goes away.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::Deref;
use std::thread::JoinHandle;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::ApiServer;

/// Whether it is to be up, and whom to tell once it is so.
type Switch = (bool, oneshot::Sender<()>);

/// An [`ApiServer`] that listens until this is dropped.
#[derive(Debug)]
pub struct ApiEndpoint {
    /// Where.
    pub address: SocketAddr,
    server: ApiServer,
    switch: mpsc::UnboundedSender<Switch>,
    thread: Option<JoinHandle<()>>,
}

impl Deref for ApiEndpoint {
    type Target = ApiServer;

    fn deref(&self) -> &ApiServer {
        &self.server
    }
}

impl ApiServer {
    /// Puts it on a free port of loopback.
    ///
    /// # Panics
    /// No port can be had.
    #[must_use]
    pub fn listen(&self) -> ApiEndpoint {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, server) = (listener.local_addr().unwrap(), self.clone());
        let (switch, switched) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let thread =
            std::thread::spawn(move || runtime.block_on(serve(server, listener, switched)));
        ApiEndpoint {
            address,
            server: self.clone(),
            switch,
            thread: Some(thread),
        }
    }
}

impl ApiEndpoint {
    /// A kubeconfig that leads here, with `namespace` for the current one.
    #[must_use]
    pub fn kubeconfig(&self, namespace: &str) -> String {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
        });
        kubeconfig.to_string()
    }

    /// Closes every connection, and from now on each new one.
    ///
    /// # Panics
    /// The thread of the server has ended.
    pub fn down(&self) {
        self.turn(false);
    }

    /// Serves again.
    ///
    /// # Panics
    /// The thread of the server has ended.
    pub fn up(&self) {
        self.turn(true);
    }

    fn turn(&self, up: bool) {
        let (done, turned) = oneshot::channel();
        self.switch.send((up, done)).unwrap();
        turned.blocking_recv().unwrap();
    }
}

impl Drop for ApiEndpoint {
    fn drop(&mut self) {
        // The thread ends with the channel.
        self.switch = mpsc::unbounded_channel().0;
        self.thread.take().map(JoinHandle::join);
    }
}

/// While it is down it goes on listening, so that nobody else gets the port, and closes what connects.
async fn serve(
    server: ApiServer,
    listener: std::net::TcpListener,
    mut switched: mpsc::UnboundedReceiver<Switch>,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    let (mut connections, mut up) = (JoinSet::new(), true);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                if up {
                    stream.set_nodelay(true).unwrap();
                    connections.spawn(connection(stream, server.clone()));
                }
            }
            switch = switched.recv() => {
                let Some((turn, done)) = switch else { return };
                up = turn;
                connections.shutdown().await;
                done.send(()).unwrap();
            }
        }
    }
}

async fn connection(stream: TcpStream, server: ApiServer) {
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(server.answer(request).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
