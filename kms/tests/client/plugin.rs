//! Plugins that tests talk to: a real gRPC server, and sockets that are none. Also used by the tests of `backends` and `cli`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coffer_kms::proto::key_management_service_server::{KeyManagementService, KeyManagementServiceServer};
use coffer_kms::proto::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
use coffer_runtime::local;
use coffer_runtime::net::{UnixListener, UnixStream};
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use smol_hyper::rt::FuturesIo;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use tonic::codegen::Service;
use tonic::{Request, Response, Status};

/// How a plugin behaves. It "encrypts" by adding its key's number to each byte.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// The key that it encrypts with: `key-` and this number.
    pub key: u8,
    pub version: String,
    pub healthz: String,
    /// What becomes of the answer to Encrypt.
    pub encrypted: fn(&mut EncryptResponse),
    /// An error in the place of all answers but Status.
    pub refusal: Option<Status>,
    /// Calls are never answered.
    pub hangs: bool,
    /// Decrypt gives other bytes than those that were encrypted, as a plugin of somebody else may.
    pub foreign: bool,
    /// Encrypt is refused with the plaintext, as base64, in the reason.
    pub repeats: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            key: 1,
            version: "v2".into(),
            healthz: "ok".into(),
            encrypted: |_| {},
            refusal: None,
            hangs: false,
            foreign: false,
            repeats: false,
        }
    }
}

/// What each call brought: its name, its uid.
type Calls = Arc<Mutex<Vec<(&'static str, String)>>>;

/// A plugin that listens until it is dropped.
pub struct Plugin {
    pub path: PathBuf,
    behaviour: Arc<Mutex<Behaviour>>,
    calls: Calls,
    plaintext: Arc<Mutex<Vec<u8>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<local::LocalThread<()>>,
}

impl Plugin {
    /// Listens at `path`.
    pub fn start(path: &Path, behaviour: Behaviour) -> Self {
        let behaviour = Arc::new(Mutex::new(behaviour));
        let calls = Calls::default();
        let plaintext = Arc::default();
        let service = Keeper {
            behaviour: Arc::clone(&behaviour),
            calls: Arc::clone(&calls),
            plaintext: Arc::clone(&plaintext),
        };
        let server = KeyManagementServiceServer::new(service);
        let (stop, thread) = listen(path, move |stream| serve(server.clone(), stream));
        Self { path: path.into(), behaviour, calls, plaintext, stop: Some(stop), thread: Some(thread) }
    }

    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    pub fn calls(&self) -> Vec<(&'static str, String)> {
        self.calls.lock().unwrap().clone()
    }

    /// What it was last given to encrypt.
    pub fn plaintext(&self) -> Vec<u8> {
        self.plaintext.lock().unwrap().clone()
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Accepts at `path` until the sender is dropped, and gives each connection to `serve`.
pub fn listen<F: Future<Output = ()> + 'static>(
    path: &Path,
    serve: impl Fn(UnixStream) -> F + Send + 'static,
) -> (oneshot::Sender<()>, local::LocalThread<()>) {
    let (stop, mut stopped) = oneshot::channel();
    let listener = UnixListener::bind(path).unwrap();
    let thread = local::run("plugin", move || async move {
        while let Either::Left((accepted, _)) = select(pin!(listener.accept()), &mut stopped).await {
            drop(local::spawn(serve(accepted.unwrap())));
        }
    });
    (stop, thread.unwrap())
}

async fn serve(server: KeyManagementServiceServer<Keeper>, stream: UnixStream) {
    let service = service_fn(move |request| {
        let mut server = server.clone();
        async move { server.call(request).await }
    });
    // A client that goes away is no news.
    let _ = http2::Builder::new(LocalTasks).serve_connection(FuturesIo::new(stream), service).await;
}

#[derive(Clone, Copy)]
struct LocalTasks;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalTasks {
    fn execute(&self, future: F) {
        drop(local::spawn(future));
    }
}

#[derive(Clone)]
struct Keeper {
    behaviour: Arc<Mutex<Behaviour>>,
    calls: Calls,
    plaintext: Arc<Mutex<Vec<u8>>>,
}

impl Keeper {
    async fn begin(&self, call: &'static str, uid: &str) -> Result<Behaviour, Status> {
        self.calls.lock().unwrap().push((call, uid.to_owned()));
        let behaviour = self.behaviour.lock().unwrap().clone();
        if behaviour.hangs {
            std::future::pending::<()>().await;
        }
        match &behaviour.refusal {
            Some(refusal) if call != "status" => Err(refusal.clone()),
            _ => Ok(behaviour),
        }
    }
}

#[tonic::async_trait]
impl KeyManagementService for Keeper {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let Behaviour { key, version, healthz, .. } = self.begin("status", "").await?;
        Ok(Response::new(StatusResponse { version, healthz, key_id: format!("key-{key}") }))
    }

    async fn encrypt(&self, request: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        let request = request.into_inner();
        let behaviour = self.begin("encrypt", &request.uid).await?;
        self.plaintext.lock().unwrap().clone_from(&request.plaintext);
        if behaviour.repeats {
            let text = STANDARD.encode(&request.plaintext);
            return Err(Status::internal(format!("cannot encrypt {text}")));
        }
        let mut answer = EncryptResponse {
            ciphertext: request.plaintext.iter().map(|byte| byte.wrapping_add(behaviour.key)).collect(),
            key_id: format!("key-{}", behaviour.key),
            annotations: BTreeMap::from([("local.plugin.example".into(), vec![behaviour.key])]),
        };
        (behaviour.encrypted)(&mut answer);
        Ok(Response::new(answer))
    }

    async fn decrypt(&self, request: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        let request = request.into_inner();
        let behaviour = self.begin("decrypt", &request.uid).await?;
        let key = request.annotations.get("local.plugin.example").and_then(|value| value.first());
        let key = *key.ok_or_else(|| Status::invalid_argument("the annotation is missing"))?;
        if request.key_id != format!("key-{key}") {
            return Err(Status::not_found("no such key"));
        }
        let key = key.wrapping_add(behaviour.foreign.into());
        let plaintext = request.ciphertext.iter().map(|byte| byte.wrapping_sub(key)).collect();
        Ok(Response::new(DecryptResponse { plaintext }))
    }
}
