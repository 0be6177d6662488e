//! Signing in: whom the password is sent to, and what is kept.

use std::os::unix::fs::PermissionsExt;

use axum::http::Method;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
    server::TlsStream,
};

use crate::support::{Asked, FakeApi, User, file, finish, id, ok, problem};

fn platform(asked: &Asked) -> axum::response::Response {
    let user = json!({ "id": id("usr", 1), "email": "ada@example.com", "name": "Ada", "is_platform_admin": false });
    match (&asked.method, asked.path.as_str()) {
        (_, "/v1/version") => {
            ok(&json!({ "version": "0.1.0", "protocol": 1, "platform_domain": "railhead.test" }))
        }
        (&Method::POST, "/v1/sessions") if asked.json()["password"] == "right" => ok(&json!({
            "id": id("ses", 1), "token": "session-token", "expires_at": "2099-01-01T00:00:00Z", "user": user,
        })),
        (&Method::POST, _) => problem(
            401,
            "invalid_credentials",
            "E-mail address and password don't fit.",
        ),
        (&Method::DELETE, _) => ok(&json!(null)),
        _ if asked.header("authorization") == "Bearer session-token" => {
            ok(&json!({ "user": user, "organizations": [] }))
        }
        _ => problem(401, "unauthenticated", "Not signed in."),
    }
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // A client that does not trust us hangs up here.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// The platform over TLS, and the PEM of the authority that signed its certificate.
async fn start_tls() -> (FakeApi, String) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut ca = CertificateParams::new(vec![]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &ca)
        .unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let api = FakeApi::unbound(url, platform);
    let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
    tokio::spawn(axum::serve(Tls { listener, acceptor }, api.router()).into_future());
    (api, ca.pem())
}

#[tokio::test]
async fn signing_out_with_a_token_says_that_it_stays_good() {
    let api = FakeApi::start(|asked| match asked.path.as_str() {
        "/v1/sessions/current" => problem(409, "conflict", "an API token has no session to end"),
        "/v1/version" => {
            ok(&json!({ "version": "0.1.0", "protocol": 1, "platform_domain": "railhead.test" }))
        }
        _ => ok(&json!({
            "user": { "id": id("usr", 1), "email": "ci@example.com", "name": "CI", "is_platform_admin": false },
            "organizations": [],
        })),
    })
    .await;
    let user = User::new();
    let mut login = user.command(&["login", "--with-token", "--api", &api.url]);
    let token = file(user.home.path(), "token", "rh_pat_x\n");
    login.stdin(std::fs::File::open(token).unwrap());
    assert_eq!(finish(login).await.code, 0);
    let out = finish(user.command(&["logout"])).await;
    assert_eq!(out.code, 0, "{}", out.stderr);
    assert!(out.stderr.contains("token revoke"), "{}", out.stderr);
    assert!(
        !std::fs::read_to_string(user.credentials())
            .unwrap()
            .contains("rh_pat_x")
    );
}

#[tokio::test]
async fn no_password_goes_to_a_stranger_and_a_given_authority_is_kept() {
    let (api, ca) = start_tls().await;
    let user = User::new();
    let password = file(user.home.path(), "password", "right\n");
    let login = [
        "login",
        "--api",
        &api.url,
        "--email",
        "ada@example.com",
        "--password-file",
        &password,
    ];

    let stranger = finish(user.command(&login)).await;
    assert_eq!(stranger.code, 1);
    assert!(
        stranger.stderr.contains("not trusted here") && stranger.stderr.contains("--ca FILE"),
        "{}",
        stranger.stderr
    );
    assert!(api.asked().is_empty() && !user.credentials().exists());

    let ca_file = file(user.home.path(), "ca.pem", &ca);
    let signed_in = finish(user.command(&[&login[..], &["--ca", &ca_file]].concat())).await;
    assert_eq!(signed_in.code, 0, "{}", signed_in.stderr);
    let mode = std::fs::metadata(user.credentials())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    std::fs::remove_file(&ca_file).unwrap();
    let me = finish(user.command(&["whoami"])).await;
    assert_eq!(me.code, 0, "{}", me.stderr);
    assert!(
        me.stdout
            .contains(&format!("ada@example.com at {}", api.url)),
        "{}",
        me.stdout
    );

    let (_, other_ca) = start_tls().await;
    let other = file(user.home.path(), "other.pem", &other_ca);
    let wrong = finish(user.command(&["whoami", "--ca", &other])).await;
    assert_eq!(wrong.code, 1);
    assert!(wrong.stderr.contains("could not trust"), "{}", wrong.stderr);

    let nonsense = file(user.home.path(), "nonsense.pem", "hello");
    let unusable = finish(user.command(&["whoami", "--ca", &nonsense])).await;
    assert!(
        unusable.stderr.contains("not a PEM certificate"),
        "{}",
        unusable.stderr
    );
}

#[tokio::test]
async fn a_wrong_password_is_kept_nowhere() {
    let api = FakeApi::start(platform).await;
    let user = User::new();
    let password = file(user.home.path(), "password", "wrong\n");
    let ran = finish(user.command(&[
        "login",
        "--api",
        &api.url,
        "--email",
        "ada@example.com",
        "--password-file",
        &password,
    ]))
    .await;
    assert_eq!(ran.code, 3);
    assert!(
        ran.stderr
            .contains("E-mail address and password don't fit."),
        "{}",
        ran.stderr
    );
    assert!(!user.credentials().exists());
}

#[tokio::test]
async fn a_token_is_read_from_standard_input_and_never_shown() {
    let api = FakeApi::start(platform).await;
    let user = User::new();
    let token = file(user.home.path(), "token", "session-token\n");
    let mut command = user.command(&["login", "--api", &api.url, "--with-token"]);
    command.stdin(std::fs::File::open(token).unwrap());
    let ran = finish(command).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!format!("{ran:?}").contains("session-token"));

    let out = finish(user.command(&["logout"])).await;
    assert_eq!(out.code, 0, "{}", out.stderr);
    assert_eq!(
        api.asked_to(Method::DELETE, "/v1/sessions/current").len(),
        1
    );
    assert!(
        !std::fs::read_to_string(user.credentials())
            .unwrap()
            .contains("session-token")
    );
    assert_eq!(finish(user.command(&["whoami"])).await.code, 3);
}
