//! An API on loopback that answers with what a test prepared and remembers what it was asked, and a
//! user with a home and a folder of their own.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// What the API was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

type Answer = Arc<dyn Fn(&Asked) -> Response + Send + Sync>;

/// An API that answers by a function.
#[derive(Clone)]
pub struct FakeApi {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    answer: Answer,
}

impl FakeApi {
    /// Plain HTTP, which the command line allows to loopback only.
    pub async fn start(answer: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            asked: Arc::default(),
            answer: Arc::new(answer),
        };
        tokio::spawn(axum::serve(listener, api.router()).into_future());
        api
    }

    /// The same over another listener.
    pub fn router(&self) -> Router {
        Router::new().fallback(handle).with_state(self.clone())
    }

    /// An API that is not listening yet.
    pub fn unbound(
        url: String,
        answer: impl Fn(&Asked) -> Response + Send + Sync + 'static,
    ) -> Self {
        Self {
            url,
            asked: Arc::default(),
            answer: Arc::new(answer),
        }
    }

    /// Everything that it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// What it was asked to `method path`.
    pub fn asked_to(&self, method: Method, path: &str) -> Vec<Asked> {
        let all = self.asked();
        all.into_iter()
            .filter(|asked| asked.method == method && asked.path == path)
            .collect()
    }
}

async fn handle(State(api): State<FakeApi>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let asked = Asked {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: axum::body::to_bytes(body, usize::MAX).await.unwrap(),
    };
    let answer = (api.answer)(&asked);
    api.asked.lock().unwrap().push(asked);
    answer
}

/// A refusal as the platform writes it.
pub fn problem(status: u16, code: &str, detail: &str) -> Response {
    let body = json!({
        "type": format!("urn:railhead:problem:{code}"), "title": "Title", "status": status,
        "detail": detail, "code": code, "request_id": "req_1",
    });
    (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response()
}

/// JSON with status 200.
pub fn ok(body: &Value) -> Response {
    axum::Json(body.clone()).into_response()
}

/// A page with these items.
pub fn page(items: &[Value]) -> Response {
    ok(&json!({ "items": items }))
}

/// An id with a number in it.
pub fn id(prefix: &str, number: u32) -> String {
    format!("{prefix}_{number:032x}")
}

/// What a run of the binary gave.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A user with a home and a folder of their own.
pub struct User {
    pub home: TempDir,
    pub folder: TempDir,
}

impl User {
    pub fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            folder: tempfile::Builder::new().prefix("shop").tempdir().unwrap(),
        }
    }

    /// The binary in this user's folder, with nothing of the tester's own surroundings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_railhead"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null());
        command
    }

    /// Runs with a token for this API.
    pub async fn run(&self, api: &FakeApi, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        command
            .env("RAILHEAD_API", &api.url)
            .env("RAILHEAD_TOKEN", "secret");
        finish(command).await
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub fn credentials(&self) -> std::path::PathBuf {
        self.home.path().join(".config/railhead/credentials.toml")
    }
}

/// Runs to the end beside the test's own tasks.
pub async fn finish(mut command: Command) -> Ran {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A file with this text.
pub fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    path.display().to_string()
}
