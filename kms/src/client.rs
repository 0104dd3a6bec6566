//! One call, one connection: calls are rare, and a plugin may restart between them.

use crate::error::KmsError;
use crate::proto::key_management_service_client::KeyManagementServiceClient;
use crate::proto::{DecryptRequest, EncryptRequest, StatusRequest, StatusResponse};
use coffer_runtime::local;
use coffer_runtime::net::UnixStream;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use smol_hyper::rt::FuturesIo;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::body::Body;
use tonic::codegen::Service;
use zeroize::{Zeroize, Zeroizing};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The API's limits on what a plugin answers.
const KEY_ID_BYTES_MAX: usize = 1024;
const CIPHERTEXT_BYTES_MAX: usize = 1024;
const ANNOTATIONS_BYTES_MAX: usize = 32 << 10;
const MESSAGE_BYTES_MAX: usize = 128 << 10;

/// What a plugin makes of a plaintext. All of it is needed to get the plaintext back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encrypted {
    /// The plugin's name for the key that it encrypted with.
    pub key_id: String,
    /// The plaintext, encrypted.
    pub ciphertext: Vec<u8>,
    /// What the plugin wants to be given back with it.
    pub annotations: BTreeMap<String, Vec<u8>>,
}

/// A plugin behind a unix socket. Calls block; each makes a connection of its own. Any thread may make them.
#[derive(Clone, Debug)]
pub struct KmsClient {
    socket: PathBuf,
    timeout: Duration,
}

impl KmsClient {
    /// The plugin at `endpoint`: `unix:///path`, as Kubernetes writes it, or an absolute path. Nothing is connected yet.
    ///
    /// # Errors
    /// It is something else.
    pub fn new(endpoint: &str) -> Result<Self, KmsError> {
        let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
        // An @ would be a name in Linux's abstract space, which every program of the machine may take.
        if !path.starts_with('/') || path.starts_with("/@") || path.len() > 4096 {
            return Err(KmsError::Endpoint { endpoint: endpoint.into() });
        }
        Ok(Self { socket: path.into(), timeout: TIMEOUT })
    }

    /// With another bound on how long a call may take.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The path of the socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The id of the key that the plugin encrypts with now.
    ///
    /// # Errors
    /// It cannot be asked, is not healthy, or is no plugin of version 2.
    pub fn status(&self) -> Result<String, KmsError> {
        let StatusResponse { version, healthz, key_id } = self
            .call("tell its status", async |mut plugin: Plugin| {
                plugin.status(tonic::Request::new(StatusRequest {})).await
            })?;
        if !["v2", "v2beta1"].contains(&version.as_str()) {
            let version = printable(&version);
            return Err(KmsError::Answer(format!("has the version {version:?}, and v2 is understood")));
        }
        if healthz != "ok" {
            return Err(KmsError::Unhealthy(printable(&healthz)));
        }
        checked_key_id(key_id)
    }

    /// Encrypts. `uid` names the request in the plugin's logs.
    ///
    /// # Errors
    /// The plugin cannot be asked, refuses, or answers what the API forbids.
    pub fn encrypt(&self, plaintext: &[u8], uid: &str) -> Result<Encrypted, KmsError> {
        let request = EncryptRequest { plaintext: plaintext.to_vec(), uid: uid.into() };
        let answer = self.call("encrypt", async move |mut plugin: Plugin| plugin.encrypt(request).await)?;
        let annotations = answer.annotations;
        let annotation_bytes: usize = annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
        if !(1..=CIPHERTEXT_BYTES_MAX).contains(&answer.ciphertext.len()) {
            let found = answer.ciphertext.len();
            let reason =
                format!("has {found} bytes of ciphertext, and 1 to {CIPHERTEXT_BYTES_MAX} are allowed");
            return Err(KmsError::Answer(reason));
        }
        if annotation_bytes > ANNOTATIONS_BYTES_MAX {
            let reason = format!(
                "has {annotation_bytes} bytes of annotations, and {ANNOTATIONS_BYTES_MAX} are allowed"
            );
            return Err(KmsError::Answer(reason));
        }
        Ok(Encrypted { key_id: checked_key_id(answer.key_id)?, ciphertext: answer.ciphertext, annotations })
    }

    /// Decrypts what [`encrypt`](Self::encrypt) gave.
    ///
    /// # Errors
    /// The plugin cannot be asked or refuses.
    pub fn decrypt(&self, encrypted: &Encrypted, uid: &str) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let request = DecryptRequest {
            ciphertext: encrypted.ciphertext.clone(),
            uid: uid.into(),
            key_id: encrypted.key_id.clone(),
            annotations: encrypted.annotations.clone(),
        };
        let mut answer =
            self.call("decrypt", async move |mut plugin: Plugin| plugin.decrypt(request).await)?;
        Ok(Zeroizing::new(std::mem::take(&mut answer.plaintext)))
    }

    /// Makes one call on a thread of its own: the caller's may belong to an executor that must not wait here.
    fn call<T, F>(&self, name: &'static str, call: F) -> Result<T, KmsError>
    where
        T: Send + 'static,
        F: AsyncFnOnce(Plugin) -> Result<tonic::Response<T>, tonic::Status> + Send + 'static,
    {
        let Self { socket, timeout } = self.clone();
        let thread = local::run("kms", move || async move {
            let answer = coffer_runtime::timeout(timeout, async {
                let plugin = connect(&socket).await?;
                call(plugin).await.map(tonic::Response::into_inner).map_err(|status| refusal(name, &status))
            });
            answer.await.unwrap_or(Err(KmsError::Late(timeout)))
        });
        let thread = thread.map_err(|error| KmsError::Connection(error.to_string()))?;
        thread.join().unwrap_or_else(|error| Err(KmsError::Connection(error.to_string())))
    }
}

type Plugin = KeyManagementServiceClient<Channel>;

async fn connect(socket: &Path) -> Result<Plugin, KmsError> {
    let stream = UnixStream::connect(socket).await;
    let stream = stream.map_err(|error| KmsError::Unreachable(Arc::new(error)))?;
    let handshake = http2::handshake(LocalTasks, FuturesIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| KmsError::Connection(error.to_string()))?;
    // Ends with the thread of the call.
    drop(local::spawn(connection));
    let client =
        KeyManagementServiceClient::with_origin(Channel { sender }, Uri::from_static("http://localhost"));
    Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX))
}

fn checked_key_id(key_id: String) -> Result<String, KmsError> {
    if !(1..=KEY_ID_BYTES_MAX).contains(&key_id.len()) {
        let found = key_id.len();
        return Err(KmsError::Answer(format!(
            "has a key id of {found} bytes, and 1 to {KEY_ID_BYTES_MAX} are allowed"
        )));
    }
    Ok(key_id)
}

fn refusal(call: &'static str, status: &tonic::Status) -> KmsError {
    // gRPC's library makes a status of what breaks the connection, too; only that has a source.
    if let Some(source) = std::error::Error::source(status) {
        return KmsError::Connection(format!("{}: {source}", printable(status.message())));
    }
    KmsError::Refused { call, code: status.code(), message: printable(status.message()) }
}

/// At most 600 characters, none of which moves a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().take(600).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[derive(Clone, Copy)]
struct LocalTasks;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalTasks {
    fn execute(&self, future: F) {
        drop(local::spawn(future));
    }
}

/// One connection, for the generated client.
#[derive(Clone)]
struct Channel {
    sender: http2::SendRequest<Body>,
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}

impl Drop for EncryptRequest {
    fn drop(&mut self) {
        self.plaintext.zeroize();
    }
}
