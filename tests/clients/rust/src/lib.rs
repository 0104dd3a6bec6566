//! What the tests share: a client of the server that `tests/clients/run` started, and waiting with a deadline.

use etcd_client::{Client, Error};
use std::future::Future;
use std::time::Duration;

/// `host:port` of the server.
pub fn endpoint() -> String {
    std::env::var("ENDPOINT").expect("ENDPOINT is not set; tests/clients/run sets it")
}

/// A new client.
pub async fn connect() -> Client {
    Client::connect([endpoint()], None).await.expect("connect")
}

/// The answer, or a panic after 20 seconds.
pub async fn soon<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), answer).await.expect("an answer in time")
}

/// Code and text of a refusal.
pub fn refusal<T>(result: Result<T, Error>) -> (i32, String) {
    match result {
        Err(Error::GRpcStatus(status)) => (status.code() as i32, status.message().to_owned()),
        Err(other) => panic!("not a status: {other}"),
        Ok(_) => panic!("accepted"),
    }
}
