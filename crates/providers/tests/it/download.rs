//! Model pulls from a hub that fails in every way it can.

use std::path::Path;
use std::time::Duration;

use inshore_domain::EgressLog;
use inshore_providers::download::{
    Digest, Download, DownloadError, Downloaded, Progress, Retry, Verified, download, hub_url,
};
use inshore_providers::{Destination, Gate, GateOptions, Secret, Timeouts};
use inshore_sim::hub::{Hub, HubFault};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

const REFERENCE: &str = "hf:acme/tiny/tiny.gguf";
const SHELF: &str = "acme/tiny/tiny.gguf";

struct Rig {
    hub: Hub,
    gate: Gate,
    folder: TempDir,
    egress: EgressLog,
}

fn content(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|i| ((i * 31 + seed) ^ (i >> 8)) as u8).collect()
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

impl Rig {
    async fn new() -> Self {
        let hub = Hub::start().await.unwrap();
        let gate = Gate::new(GateOptions::default());
        gate.declare(Destination::of(&hub.base_url().parse().unwrap()).unwrap());
        Self { hub, gate, folder: TempDir::new().unwrap(), egress: EgressLog::default() }
    }

    fn what(&self) -> Download {
        let url = hub_url(&self.hub.base_url().parse().unwrap(), REFERENCE).unwrap();
        let mut what = Download::new(url, self.folder.path().join("tiny.gguf"));
        what.retry = Retry { attempts: 3, first_wait: Duration::from_millis(1) };
        what
    }

    fn once(&self) -> Download {
        let retry = Retry { attempts: 1, first_wait: Duration::ZERO };
        Download { retry, ..self.what() }
    }

    async fn pull(&self, what: &Download) -> Result<Downloaded, DownloadError> {
        download(&self.gate, what, &self.egress, &mut |_| {}).await
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[tokio::test]
async fn a_file_is_pulled_verified_and_named_at_the_end() {
    let rig = Rig::new().await;
    let bytes = content(700_000, 1);
    rig.hub.put(SHELF, bytes.clone());
    let mut what = rig.what();
    what.token = Some(Secret::new("hf_secret"));
    let mut seen: Vec<Progress> = Vec::new();
    let pulled = download(&rig.gate, &what, &rig.egress, &mut |progress| seen.push(progress)).await.unwrap();
    assert_eq!(read(&pulled.path), bytes);
    assert_eq!((pulled.sha256, pulled.verified), (digest(&bytes), Verified::ByHub));
    assert_eq!(rig.names(), ["tiny.gguf"]);
    assert_eq!(seen.first().unwrap(), &Progress { bytes: 0, total: Some(700_000), resumed_from: 0 });
    assert_eq!(seen.last().unwrap().bytes, 700_000);
    assert!(seen.windows(2).all(|pair| pair[0].bytes <= pair[1].bytes));

    // The token stays with the hub, the hosts are listed, and each call is on record.
    assert_eq!(rig.hub.front().seen()[0].headers["authorization"], "Bearer hf_secret");
    assert!(!rig.hub.content().seen()[0].headers.contains_key("authorization"));
    let hosts = [rig.hub.front().address().to_string(), rig.hub.content().address().to_string()];
    assert_eq!(pulled.hosts, hosts);
    let records = rig.egress.snapshot();
    assert_eq!(records.iter().map(|record| record.destination.clone()).collect::<Vec<_>>(), hosts);
    assert!(records.iter().all(|record| record.bytes_out > 0) && records[1].bytes_in > 700_000);
    assert!(!format!("{what:?}").contains("hf_secret"));
}

#[tokio::test]
async fn broken_connections_are_resumed_in_one_pull() {
    let rig = Rig::new().await;
    let bytes = content(900_000, 2);
    rig.hub.put(SHELF, bytes.clone());
    for at in [1, 100_000, 0, 0, 333_333, 400_000] {
        rig.hub.fail(HubFault::CutAfter(at));
    }
    let pulled = rig.pull(&rig.what()).await.unwrap();
    assert_eq!(read(&pulled.path), bytes);
    let ranges = rig.hub.content().seen().iter().filter(|seen| seen.headers.contains_key("range")).count();
    assert!(ranges >= 4, "{ranges} ranges");
    let got: u64 = rig.egress.snapshot().iter().map(|record| record.bytes_in).sum();
    assert!(got < 1_000_000, "{got} bytes came for 900,000");
}

#[tokio::test]
async fn an_interrupted_pull_goes_on_where_it_stopped() {
    let rig = Rig::new().await;
    let bytes = content(500_000, 3);
    rig.hub.put(SHELF, bytes.clone());
    rig.hub.fail(HubFault::CutAfter(200_000));
    rig.hub.fail(HubFault::CutAfter(0));
    let error = rig.pull(&rig.once()).await.unwrap_err();
    assert!(matches!(error, DownloadError::Connection(_)), "{error}");
    assert_eq!(rig.names(), ["tiny.gguf.part", "tiny.gguf.part.state"]);
    let kept = read(&rig.folder.path().join("tiny.gguf.part"));
    assert_eq!(kept, bytes[..kept.len()]);
    assert_eq!(kept.len(), 200_000);

    let pulled = rig.pull(&rig.what()).await.unwrap();
    assert_eq!((pulled.resumed_from, read(&pulled.path)), (200_000, bytes));
    assert_eq!(rig.hub.content().seen().last().unwrap().headers["range"], "bytes=200000-");
    assert_eq!(rig.names(), ["tiny.gguf"]);
}

#[tokio::test]
async fn a_stalled_server_is_left_and_asked_again() {
    let rig = Rig::new().await;
    let bytes = content(50_000, 4);
    rig.hub.put(SHELF, bytes.clone());
    rig.hub.fail(HubFault::StallAfter(20_000));
    let mut what = rig.what();
    what.timeouts = Timeouts { idle: Duration::from_millis(100), ..Timeouts::default() };
    assert_eq!(read(&rig.pull(&what).await.unwrap().path), bytes);
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_read_from_the_start() {
    let rig = Rig::new().await;
    let bytes = content(100_000, 5);
    rig.hub.put(SHELF, bytes.clone());
    rig.hub.fail(HubFault::CutAfter(60_000));
    rig.hub.fail(HubFault::IgnoreRange);
    let pulled = rig.pull(&rig.what()).await.unwrap();
    assert_eq!((read(&pulled.path), pulled.resumed_from), (bytes.clone(), 0));

    // One that answers with another range than was asked for is not believed.
    std::fs::remove_file(&pulled.path).unwrap();
    rig.hub.fail(HubFault::CutAfter(60_000));
    rig.hub.fail(HubFault::WrongRange);
    let error = rig.pull(&rig.what()).await.unwrap_err();
    assert!(matches!(error, DownloadError::Protocol { .. }), "{error}");
    assert_eq!(read(&rig.pull(&rig.what()).await.unwrap().path), bytes);
}

#[tokio::test]
async fn a_file_that_changed_in_between_is_pulled_anew() {
    let rig = Rig::new().await;
    rig.hub.put(SHELF, content(100_000, 6));
    rig.hub.fail(HubFault::CutAfter(60_000));
    rig.hub.fail(HubFault::CutAfter(0));
    rig.pull(&rig.once()).await.unwrap_err();
    let newer = content(90_000, 7);
    rig.hub.put(SHELF, newer.clone());
    let pulled = rig.pull(&rig.what()).await.unwrap();
    assert_eq!((read(&pulled.path), pulled.resumed_from), (newer, 0));
}

#[tokio::test]
async fn a_wrong_checksum_is_an_error_and_leaves_nothing() {
    let rig = Rig::new().await;
    let bytes = content(10_000, 8);
    let lie = digest(b"something else");
    rig.hub.put_with(SHELF, bytes.clone(), Some(lie.to_string()));
    match rig.pull(&rig.what()).await.unwrap_err() {
        DownloadError::Checksum { expected, found } => assert_eq!((expected, found), (lie, digest(&bytes))),
        other => panic!("{other}"),
    }
    assert!(rig.names().is_empty());

    // The checksum that was handed in counts more than the hub's.
    let mut what = rig.what();
    what.sha256 = Some(digest(&bytes));
    assert_eq!(rig.pull(&what).await.unwrap().verified, Verified::Expected);
    rig.hub.put_with(SHELF, bytes, None);
    assert_eq!(rig.pull(&rig.what()).await.unwrap().verified, Verified::No);
}

#[tokio::test]
async fn redirects_lead_neither_round_in_circles_nor_astray() {
    let rig = Rig::new().await;
    rig.hub.put(SHELF, content(10, 9));
    let own = format!("{}/{}", rig.hub.base_url(), "acme/tiny/resolve/main/tiny.gguf");
    for _ in 0..8 {
        rig.hub.fail(HubFault::RedirectTo(own.clone()));
    }
    assert!(matches!(rig.pull(&rig.what()).await, Err(DownloadError::Redirect { why: "too often", .. })));
    let rig = Rig::new().await;
    rig.hub.put(SHELF, content(10, 9));
    for to in ["ftp://example.test/f", "http://8.8.8.8/f", "https://user:word@example.test/f"] {
        rig.hub.fail(HubFault::RedirectTo(to.into()));
        assert!(matches!(rig.pull(&rig.what()).await, Err(DownloadError::Redirect { .. })), "{to}");
    }
    assert_eq!(rig.hub.content().stats().accepted, 0);
}

#[tokio::test]
async fn what_cannot_succeed_is_not_tried_again() {
    let rig = Rig::new().await;
    let error = rig.pull(&rig.what()).await.unwrap_err();
    assert!(matches!(error, DownloadError::Refused { status: 404, .. }), "{error}");
    assert_eq!(rig.hub.front().stats().requests, 1);

    rig.hub.put(SHELF, content(1000, 10));
    let small = Download { max_bytes: 999, ..rig.what() };
    assert!(matches!(rig.pull(&small).await, Err(DownloadError::TooLarge { limit: 999 })));

    let undeclared = Gate::new(GateOptions::default());
    let error = download(&undeclared, &rig.what(), &rig.egress, &mut |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("not declared"), "{error}");

    rig.hub.fail(HubFault::Status(503));
    assert!(rig.pull(&rig.what()).await.is_ok(), "a server that is busy is asked again");
}

#[tokio::test]
async fn two_pulls_of_one_file_do_not_mix() {
    let rig = Rig::new().await;
    rig.hub.put(SHELF, content(100_000, 11));
    rig.hub.fail(HubFault::StallAfter(1000));
    let what = rig.what();
    let mut first = Box::pin(rig.pull(&what));
    tokio::select! {
        _ = &mut first => panic!("it stalls"),
        () = rig.hub.content().wait(|stats| stats.carried_out == 1) => {}
    }
    assert!(matches!(rig.pull(&what).await, Err(DownloadError::Busy(_))));
    drop(first);
    assert!(rig.pull(&what).await.is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn wherever_it_is_cut_the_file_is_whole(cuts in proptest::collection::vec(0usize..70_000, 0..5), length in 1usize..60_000) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new().await;
            let bytes = content(length, 12);
            rig.hub.put(SHELF, bytes.clone());
            cuts.iter().for_each(|at| rig.hub.fail(HubFault::CutAfter(*at)));
            let retry = Retry { attempts: 10, first_wait: Duration::ZERO };
            let pulled = rig.pull(&Download { retry, ..rig.what() }).await.unwrap();
            assert_eq!(read(&pulled.path), bytes);
        });
    }
}
