//! What a connection that lies ready saves a call, over TLS to a scripted provider.
//!
//! The provider stands behind a TLS front that closes each connection after one answer, and a link that delays each direction by
//! so much, as a network would; the TCP handshake, one more round trip on a real network, is not delayed. Samples of both ways
//! alternate.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench shows its figures, and ends where something fails"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use inshore_domain::request::{Chat, Message, Role};
use inshore_domain::*;
use inshore_providers::{Gate, GateOptions, Provider, ProviderKind, ProviderTarget, Secret, Timeouts};
use inshore_sim::{Turn, openai};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::task::TaskTracker;

/// Samples of each way without a delay, and with one.
const SAMPLES: [(u64, usize); 2] = [(0, 200), (15, 40)];

#[derive(Debug)]
struct Now;

impl Clock for Now {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }
    fn monotonic(&self) -> Instant {
        Instant::now()
    }
    fn random(&self) -> u128 {
        7
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let tasks = TaskTracker::new();
    let server = openai::Server::start(openai::Options::default(), Turn::text("hi")).await.unwrap();
    let (front, certificate) = front(server.http().address(), &tasks).await;
    println!("| one way | first call: no connection | lies ready | later call: no connection | lies ready |");
    println!("|--:|--:|--:|--:|--:|");
    for (delay, samples) in SAMPLES {
        let port = link(front, Duration::from_millis(delay), &tasks).await;
        // By then the end of the connection has come here.
        let closed = Duration::from_millis(20 + 2 * delay);
        let mut took: [Vec<Duration>; 4] = Default::default();
        for _ in 0..samples {
            let [first, first_ready, later, later_ready] = &mut took;
            let cold = backend(port, &certificate);
            first.push(call(&cold).await);
            tokio::time::sleep(closed).await;
            later.push(call(&cold).await);
            let ready = backend(port, &certificate);
            for times in [first_ready, later_ready] {
                assert!(ready.warm().await.unwrap(), "the front has closed the connection before");
                times.push(call(&ready).await);
                tokio::time::sleep(closed).await;
            }
        }
        let [first, first_ready, later, later_ready] = took.map(median);
        println!("| {delay} ms | {first} | {first_ready} | {later} | {later_ready} |");
    }
}

fn median(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    format!("{:.2} ms", middle.as_secs_f64() * 1_000.0)
}

fn backend(port: u16, certificate: &CertificateDer<'static>) -> Provider {
    let gate = Arc::new(Gate::new(GateOptions { extra_roots: vec![certificate.clone()] }));
    let target = Target {
        id: TargetId("cloud/m".into()),
        endpoint_of: None,
        tier: Tier::Cloud,
        model: "sim-large".into(),
        aliases: Vec::new(),
        destination: None,
        context_window: 4096,
        max_output: None,
        capabilities: Capabilities::NONE.with(Capability::Chat),
        price: None,
        permitted_up_to: Some(Sensitivity::Internal),
        region: None,
        quality: None,
    };
    let options = ProviderTarget {
        target: Arc::new(target),
        kind: ProviderKind::OpenAiCompatible,
        base_url: format!("https://localhost:{port}/v1").parse().unwrap(),
        plain_http: false,
        key: openai::Options::default().key.map(Secret::new),
        identity: None,
        timeouts: Timeouts::default(),
        responses_api: false,
        stream_usage: true,
    };
    let provider = Provider::new(gate.clone(), Arc::new(Now), options).unwrap();
    gate.declare(provider.destination().clone());
    provider
}

/// The time to the first token.
async fn call(provider: &Provider) -> Duration {
    let request = Request {
        id: RequestId::from_bits(7),
        trace: TraceId::new(9),
        received_at: Timestamp::default(),
        admitted: Instant::now(),
        principal: Principal::default(),
        hints: Hints::default(),
        model: "auto".into(),
        task: Task::Chat(Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() }),
        stream: true,
        original: None,
    };
    let call =
        Call { request: Arc::new(request), target: provider.target().clone(), egress: EgressLog::default() };
    let begun = Instant::now();
    let mut events = provider.generate(call).await.unwrap();
    let mut first = None;
    while let Some(event) = events.next().await {
        if matches!(event.unwrap(), Event::Delta { .. }) {
            first.get_or_insert_with(|| begun.elapsed());
        }
    }
    first.unwrap()
}

/// TLS in front of the provider; a connection ends with its first answer.
async fn front(provider: SocketAddr, tasks: &TaskTracker) -> (SocketAddr, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tracker = tasks.clone();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let acceptor = acceptor.clone();
            tracker.spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut behind = TcpStream::connect(provider).await.unwrap();
                behind.set_nodelay(true).unwrap();
                one_answer(&mut stream, &mut behind).await;
            });
        }
    });
    (address, certificate)
}

/// Hands one request on, and what comes for it until its end.
async fn one_answer(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    behind: &mut (impl AsyncRead + AsyncWrite + Unpin),
) {
    let mut piece = vec![0; 64 << 10];
    let Ok(read @ 1..) = stream.read(&mut piece).await else { return };
    behind.write_all(piece.get(..read).unwrap()).await.unwrap();
    while let Ok(read @ 1..) = behind.read(&mut piece).await {
        let piece = piece.get(..read).unwrap();
        if stream.write_all(piece).await.is_err() || piece.ends_with(b"0\r\n\r\n") {
            break;
        }
    }
    let _ = stream.shutdown().await;
}

/// A port that leads to `to`, later by `delay` in each direction.
async fn link(to: SocketAddr, delay: Duration, tasks: &TaskTracker) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tracker = tasks.clone();
    tasks.spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(to).await.unwrap();
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tracker.spawn(later(near_in, far_out, delay));
            tracker.spawn(later(far_in, near_out, delay));
        }
    });
    port
}

async fn later(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, delay: Duration) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(piece.get(..read).unwrap()).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
