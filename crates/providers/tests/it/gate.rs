//! The one way out.

use std::sync::Arc;

use inshore_domain::request::{Chat, Message, Role, Task};
use inshore_domain::{BackendErrorKind, Billed, EgressLog};
use inshore_providers::gate::GateErrorKind;
use inshore_providers::{Destination, Gate, GateOptions, Provider, ProviderKind, Timeouts};
use inshore_sim::{Reply, Turn};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_util::task::TaskTracker;

use crate::rig::*;

fn chat() -> inshore_domain::Request {
    let task = Task::Chat(Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() });
    request(task, false, None)
}

#[tokio::test]
async fn nothing_is_sent_to_a_destination_that_was_not_declared() {
    let server = inshore_sim::openai::Server::start(Default::default(), Turn::text("leaked")).await.unwrap();
    let gate = Arc::new(Gate::new(GateOptions::default()));
    let options = options(ProviderKind::OpenAiCompatible, &server.base_url(), target("sim-large", &[]));
    let provider = Provider::new(gate.clone(), Arc::new(TestClock), options).unwrap();
    let refused = |made| async { hear(&provider, made).await.unwrap_err() };

    let made = call(&provider, chat());
    let egress = made.egress.clone();
    let error = refused(made).await;
    assert_eq!((error.kind.clone(), error.billed), (BackendErrorKind::Unsupported, Billed::No));
    assert!(error.message.contains("not declared"), "{error}");
    assert!(egress.snapshot().is_empty());
    assert!(provider.warm().await.is_err());

    // Another port of the same host is another destination.
    gate.declare(Destination::of(&"http://127.0.0.1:1".parse().unwrap()).unwrap());
    assert!(refused(call(&provider, chat())).await.message.contains("not declared"));
    assert_eq!(server.stats().accepted, 0, "not even a connection");

    gate.declare(provider.destination().clone());
    assert_eq!(hear(&provider, call(&provider, chat())).await.unwrap().text(), "leaked");
    gate.declare_only([]);
    assert!(refused(call(&provider, chat())).await.message.contains("not declared"));
}

#[tokio::test]
async fn a_redirect_is_refused() {
    let elsewhere =
        inshore_sim::openai::Server::start(Default::default(), Turn::text("stolen")).await.unwrap();
    let location = format!("{}/chat/completions", elsewhere.base_url());
    for status in [301, 302, 307, 308] {
        let headers = vec![("location".into(), location.clone())];
        let (_server, provider) = openai(Turn::of(Reply::Exact { status, headers, body: "".into() })).await;
        let error = hear(&provider, call(&provider, chat())).await.unwrap_err();
        assert_eq!(error.kind, BackendErrorKind::Protocol);
        assert!(error.message.contains("redirect"), "{error}");
    }
    assert_eq!(elsewhere.stats().accepted, 0);
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let provider = provider(options(ProviderKind::OpenAiCompatible, &base_url, target("m", &[])));
    let made = call(&provider, chat());
    let egress = made.egress.clone();
    let error = hear(&provider, made).await.unwrap_err();
    assert_eq!((error.kind, error.billed), (BackendErrorKind::Unreachable, Billed::No));
    assert_eq!(egress.snapshot()[0].bytes_out, 0, "the attempt is on record, and that nothing was sent");
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let provider = provider(options(ProviderKind::OpenAiCompatible, &base_url, target("m", &[])));
    let talks = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").await.unwrap();
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
    };
    let (error, ()) = tokio::join!(hear(&provider, call(&provider, chat())), talks);
    assert_eq!(error.unwrap_err().kind, BackendErrorKind::Protocol);
}

/// A server with TLS and a certificate for `localhost`, that gives one answer; and the certificate.
async fn tls_server(tasks: &TaskTracker) -> (u16, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().to_vec();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone().into()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = Vec::new();
            while !head.ends_with(b"}]}") {
                head.push(stream.read_u8().await.unwrap());
            }
            let body = r#"{"model":"m","choices":[{"message":{"content":"secret"},"finish_reason":"stop"}]}"#;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = stream.read_u8().await;
        }
    });
    (port, certificate)
}

#[tokio::test]
async fn tls_is_spoken_and_certificates_are_checked() {
    let tasks = TaskTracker::new();
    let (port, certificate) = tls_server(&tasks).await;
    let base_url = format!("https://localhost:{port}/v1");
    let options = || options(ProviderKind::OpenAiCompatible, &base_url, target("m", &[]));

    let stranger = Arc::new(Gate::new(GateOptions::default()));
    let provider = Provider::new(stranger.clone(), Arc::new(TestClock), options()).unwrap();
    stranger.declare(provider.destination().clone());
    let made = call(&provider, chat());
    let egress = made.egress.clone();
    let error = hear(&provider, made).await.unwrap_err();
    assert_eq!((error.kind, error.billed), (BackendErrorKind::Unreachable, Billed::No));
    assert_eq!(egress.snapshot()[0].bytes_out, 0);

    let trusting = Arc::new(Gate::new(GateOptions { extra_roots: vec![certificate.into()] }));
    let provider = Provider::new(trusting.clone(), Arc::new(TestClock), options()).unwrap();
    trusting.declare(provider.destination().clone());
    let made = call(&provider, chat());
    let egress = made.egress.clone();
    assert_eq!(hear(&provider, made).await.unwrap().text(), "secret");
    let record = &egress.snapshot()[0];
    assert_eq!(record.destination, format!("localhost:{port}"));
    assert!(
        record.bytes_out > 200 && record.bytes_in > 80 && record.bytes_in < 300,
        "{record:?}: without TLS framing"
    );
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_an_error() {
    let destination = Destination::of(&"http://127.0.0.1:9".parse().unwrap()).unwrap();
    let gate = Gate::new(GateOptions::default());
    gate.declare(destination.clone());
    let timeouts = Timeouts { connect: std::time::Duration::ZERO, ..Timeouts::default() };
    let error = gate.warm(&destination, &timeouts).await.unwrap_err();
    assert!(matches!(error.kind, GateErrorKind::Timeout | GateErrorKind::Unreachable) && !error.written);
    assert!(EgressLog::default().snapshot().is_empty());
}
