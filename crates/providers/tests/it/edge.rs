//! Another Inshore as a node of one's own, and certificates on both sides.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use inshore_domain::request::{Chat, Message, Role, Task};
use inshore_domain::{BackendErrorKind, Billed, Profile, ReceiptId, Sensitivity, Tier};
use inshore_providers::provider::BadProvider;
use inshore_providers::{
    BadIdentity, Gate, GateOptions, Provider, ProviderKind, ProviderTarget, TlsIdentity,
};
use inshore_sim::{Reply, Turn, openai};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_util::task::TaskTracker;

use crate::rig::*;

fn chat() -> inshore_domain::Request {
    let task = Task::Chat(Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() });
    request(task, false, None)
}

async fn node(turn: Turn) -> (openai::Server, Provider) {
    openai_with(openai::Options::default(), turn, |options| {
        options.kind = ProviderKind::Inshore;
        Arc::make_mut(&mut options.target).tier = Tier::Edge;
    })
    .await
}

#[tokio::test]
async fn the_nodes_receipt_is_named_in_ours_also_when_it_refuses() {
    let id = ReceiptId::from_bits(99).to_string();
    let body = r#"{"model":"m","choices":[{"message":{"content":"yes"},"finish_reason":"stop"}]}"#;
    for status in [200, 503] {
        let reply = Reply::Exact { status, headers: Vec::new(), body: body.into() };
        let (server, provider) = node(Turn::of(reply).with_header("x-inshore-receipt", &id)).await;
        let mut asked = chat();
        asked.hints.feature = Some("subject-line".into());
        asked.hints.sensitivity = Some(Sensitivity::Confidential);
        asked.hints.profile = Profile::Async;
        asked.hints.latency_budget = Some(Duration::from_millis(1500));
        let made = call(&provider, asked);
        let egress = made.egress.clone();
        assert_eq!(hear(&provider, made).await.is_ok(), status == 200);
        assert_eq!(egress.snapshot()[0].remote_receipt.as_ref(), Some(&id));

        let seen = server.http().seen().remove(0);
        assert_eq!(seen.headers["traceparent"], "00-00000000000000000000000000000009-0000000000000007-01");
        for (name, value) in [
            ("x-inshore-feature", "subject-line"),
            ("x-inshore-sensitivity", "confidential"),
            ("x-inshore-profile", "async"),
            ("x-inshore-latency-ms", "1500"),
        ] {
            assert_eq!(seen.headers[name], value);
        }
    }
    // Nobody else is believed to have receipts, or is told hints.
    let reply = Reply::Exact { status: 200, headers: Vec::new(), body: body.into() };
    let (server, provider) = openai(Turn::of(reply).with_header("x-inshore-receipt", &id)).await;
    let mut asked = chat();
    asked.hints.feature = Some("subject-line".into());
    let made = call(&provider, asked);
    let egress = made.egress.clone();
    hear(&provider, made).await.unwrap();
    assert_eq!(egress.snapshot()[0].remote_receipt, None);
    assert!(!server.http().seen()[0].headers.contains_key("x-inshore-feature"));
}

#[tokio::test]
async fn a_node_that_writes_no_receipt_or_nonsense_is_heard_all_the_same() {
    let (server, provider) = node(Turn::text("yes")).await;
    let made = call(&provider, chat());
    let egress = made.egress.clone();
    assert_eq!(hear(&provider, made).await.unwrap().text(), "yes");
    assert_eq!(egress.snapshot()[0].remote_receipt, None);
    assert!(!server.http().seen()[0].headers.contains_key("x-inshore-profile"));
}

/// A certificate authority.
struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key in PEM.
struct Issued {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")).into_bytes()
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    fn issue(&self, name: &str) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().der().clone(), key)
    }

    fn issue_pem(&self, name: &str) -> Issued {
        let (certificate, key) = self.issue(name);
        Issued {
            certificate: pem("CERTIFICATE", &certificate),
            key: pem("PRIVATE KEY", &key.serialize_der()),
        }
    }

    fn pem(&self) -> Vec<u8> {
        pem("CERTIFICATE", &self.certificate)
    }
}

/// A server for `localhost` with a certificate of one authority, that wants clients of another.
async fn server(own: &Authority, clients: &Authority, tasks: &TaskTracker) -> u16 {
    let (certificate, key) = own.issue("localhost");
    let mut roots = RootCertStore::empty();
    roots.add(clients.certificate.clone()).unwrap();
    let provider = Arc::new(default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = tasks.clone();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(greet(acceptor.clone(), stream));
        }
    });
    port
}

async fn greet(acceptor: TlsAcceptor, stream: TcpStream) {
    let mut stream = match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => stream,
        Err((_, mut refused)) => {
            // A socket that is closed with something unread may take the alert along.
            let _ = refused.read_to_end(&mut Vec::new()).await;
            return;
        }
    };
    let mut head = Vec::new();
    while !head.ends_with(b"}]}") {
        head.push(stream.read_u8().await.unwrap());
    }
    let body = r#"{"model":"m","choices":[{"message":{"content":"known"},"finish_reason":"stop"}]}"#;
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
    let _ = stream.read_u8().await;
}

fn options(port: u16, identity: Option<TlsIdentity>) -> ProviderTarget {
    let base_url = format!("https://localhost:{port}/v1");
    let mut options = crate::rig::options(ProviderKind::Inshore, &base_url, target("m", &[]));
    options.identity = identity;
    options
}

/// What comes of a call with an identity, or without one and the server's authority trusted.
async fn outcome(
    port: u16,
    identity: Option<TlsIdentity>,
    trusted: &Authority,
) -> Result<String, (String, Billed)> {
    let gate = Arc::new(Gate::new(GateOptions { extra_roots: vec![trusted.certificate.clone()] }));
    let provider = Provider::new(gate.clone(), Arc::new(TestClock), options(port, identity)).unwrap();
    gate.declare(provider.destination().clone());
    match hear(&provider, call(&provider, chat())).await {
        Ok(heard) => Ok(heard.text().to_owned()),
        Err(error) => {
            assert_eq!(error.kind, BackendErrorKind::Unreachable, "{error}");
            Err((error.message, error.billed))
        }
    }
}

#[tokio::test]
async fn only_the_right_certificates_are_taken_on_both_sides() {
    let (ours, clients, stranger) =
        (Authority::new("ours"), Authority::new("clients"), Authority::new("stranger"));
    let tasks = TaskTracker::new();
    let port = server(&ours, &clients, &tasks).await;
    let identity = |client: Option<&Issued>, authority: Option<&Authority>| {
        let client = client.map(|issued| (issued.certificate.as_slice(), issued.key.as_slice()));
        TlsIdentity::from_pem(client, authority.map(Authority::pem).as_deref()).unwrap()
    };
    let (right, wrong) = (clients.issue_pem("laptop"), stranger.issue_pem("laptop"));

    let known = outcome(port, Some(identity(Some(&right), Some(&ours))), &stranger).await;
    assert_eq!(known.unwrap(), "known");
    // Without authorities of one's own those count that are trusted anyway.
    assert_eq!(outcome(port, Some(identity(Some(&right), None)), &ours).await.unwrap(), "known");

    for none in [None, Some(identity(None, Some(&ours)))] {
        let (message, billed) = outcome(port, none, &ours).await.unwrap_err();
        assert!(message.contains("asks for a client certificate, and none is configured"), "{message}");
        assert_eq!(billed, Billed::No, "nothing of the request was read");
    }
    let (message, billed) =
        outcome(port, Some(identity(Some(&wrong), Some(&ours))), &ours).await.unwrap_err();
    assert!(message.contains("refuses the client certificate"), "{message}");
    assert_eq!(billed, Billed::No);

    // An authority that is named is the only one trusted.
    let (message, billed) =
        outcome(port, Some(identity(Some(&right), Some(&stranger))), &ours).await.unwrap_err();
    assert!(message.contains("no TLS") && message.contains("UnknownIssuer"), "{message}");
    assert_eq!(billed, Billed::No);
}

#[tokio::test]
async fn a_connection_with_one_certificate_is_never_used_for_another() {
    let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
    let tasks = TaskTracker::new();
    let port = server(&ours, &clients, &tasks).await;
    let right = clients.issue_pem("laptop");
    let client = Some((right.certificate.as_slice(), right.key.as_slice()));
    let of = || TlsIdentity::from_pem(client, Some(&ours.pem())).unwrap();
    assert_eq!(of(), of(), "the same files are the same identity");
    let gate = Arc::new(Gate::new(GateOptions { extra_roots: vec![ours.certificate.clone()] }));
    let with = Provider::new(gate.clone(), Arc::new(TestClock), options(port, Some(of()))).unwrap();
    let without = Provider::new(gate.clone(), Arc::new(TestClock), options(port, None)).unwrap();
    assert_ne!(with.destination(), without.destination());
    gate.declare(with.destination().clone());
    assert_eq!(hear(&with, call(&with, chat())).await.unwrap().text(), "known");
    let error = hear(&without, call(&without, chat())).await.unwrap_err();
    assert!(error.message.contains("not declared"), "{error}");
    gate.declare(without.destination().clone());
    let error = hear(&without, call(&without, chat())).await.unwrap_err();
    assert!(error.message.contains("none is configured"), "{error}");
}

#[test]
fn files_that_make_no_identity_are_told_apart() {
    let authority = Authority::new("ours");
    let (one, other) = (authority.issue_pem("one"), authority.issue_pem("other"));
    let of =
        |certificate: &[u8], key: &[u8]| TlsIdentity::from_pem(Some((certificate, key)), None).unwrap_err();
    assert_eq!(of(b"", &one.key), BadIdentity::Certificate);
    assert_eq!(of(&one.key, &one.key), BadIdentity::Certificate);
    assert_eq!(of(&one.certificate, b"no key"), BadIdentity::Key);
    assert_eq!(of(&one.certificate, &one.certificate), BadIdentity::Key);
    assert_eq!(of(&one.certificate, &other.key), BadIdentity::Mismatch);
    assert_eq!(TlsIdentity::from_pem(None, Some(b"no certificate")).unwrap_err(), BadIdentity::Authority);
    assert_eq!(TlsIdentity::from_pem(None, None).unwrap_err(), BadIdentity::Empty);

    let identity = TlsIdentity::from_pem(Some((&one.certificate, &one.key)), None).unwrap();
    assert_eq!(
        format!("{identity:?}"),
        "TlsIdentity { client_certificate: true, own_authorities: false, .. }"
    );
    let mut plain = options(1, Some(identity));
    plain.base_url = "http://localhost:1/v1".parse().unwrap();
    let gate = Arc::new(Gate::new(GateOptions::default()));
    let refused = Provider::new(gate, Arc::new(TestClock), plain).unwrap_err();
    assert_eq!(refused, BadProvider::PlainIdentity("cloud/m".into()));
}
