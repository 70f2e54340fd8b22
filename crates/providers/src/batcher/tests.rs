//! Time is paused: it goes on by itself when every caller waits.

use super::*;
use crate::answer::tests::target;
use inshore_domain::request::{Hints, Principal};
use inshore_domain::{RequestId, TargetId, Timestamp, TraceId};
use proptest::prelude::*;
use tokio::time::Instant;

/// Makes a vector of each input's first number, and counts ten tokens for each letter.
#[derive(Default)]
struct Scripted {
    calls: Mutex<Vec<(Instant, Vec<String>)>>,
    fail: bool,
    takes: Duration,
}

impl Scripted {
    fn calls(&self) -> Vec<Vec<String>> {
        self.calls.lock().unwrap().iter().map(|(_, inputs)| inputs.clone()).collect()
    }
}

impl Embedder for Scripted {
    fn embed(&self, call: Call) -> BoxFuture<'_, Result<Embeddings, BackendError>> {
        async move {
            let Task::Embedding(task) = &call.request.task else { panic!("no texts") };
            let texts: Vec<String> = task
                .inputs
                .iter()
                .map(|input| match input {
                    PromptText::Text(text) => text.clone(),
                    PromptText::Tokens(tokens) => format!("{tokens:?}"),
                })
                .collect();
            self.calls.lock().unwrap().push((Instant::now(), texts.clone()));
            call.egress.open(EgressRecord {
                target: TargetId("t".into()),
                destination: "here:1".into(),
                bytes_out: 1000,
                bytes_in: 333,
                remote_receipt: None,
            });
            tokio::time::sleep(self.takes).await;
            if self.fail {
                return Err(BackendError::new(BackendErrorKind::Overloaded, "no"));
            }
            let tokens = texts.iter().map(|text| text.len() as u32 * 10).sum();
            let vectors = texts.iter().map(|text| vec![text.len() as f32]).collect();
            Ok((vectors, Usage { prompt_tokens: tokens, ..Usage::default() }))
        }
        .boxed()
    }
}

fn options() -> BatchOptions {
    BatchOptions { window: Duration::from_millis(5), inputs: 8, across_apps: false }
}

fn call(app: &str, texts: &[&str], dimensions: Option<u32>) -> Call {
    let inputs = texts.iter().map(|text| PromptText::Text((*text).into())).collect();
    let request = Request {
        id: RequestId::from_bits(1),
        trace: TraceId::new(1),
        received_at: Timestamp::default(),
        admitted: std::time::Instant::now(),
        principal: Principal { app: app.into(), ..Principal::default() },
        hints: Hints::default(),
        model: "auto".into(),
        task: Task::Embedding(Embedding { inputs, dimensions }),
        stream: false,
        original: None,
    };
    Call { request: request.into(), target: target("cloud/e").into(), egress: EgressLog::default() }
}

fn batcher(inner: &Arc<Scripted>, options: BatchOptions) -> Batcher {
    Batcher::new(inner.clone(), options)
}

#[tokio::test(start_paused = true)]
async fn requests_of_one_moment_are_one_call_and_each_gets_its_own() {
    let inner = Arc::new(Scripted::default());
    let batcher = batcher(&inner, options());
    let (one, two, three) =
        (call("a", &["x"], None), call("a", &["yy", "zzz"], None), call("a", &["wwww"], None));
    let logs = [one.egress.clone(), two.egress.clone(), three.egress.clone()];
    let begun = Instant::now();
    let (one, two, three) = tokio::join!(batcher.embed(one), batcher.embed(two), batcher.embed(three));
    assert_eq!(begun.elapsed(), Duration::from_millis(5));
    assert_eq!(inner.calls(), [["x", "yy", "zzz", "wwww"]]);
    let (one, two, three) = (one.unwrap(), two.unwrap(), three.unwrap());
    assert_eq!((one.0, two.0, three.0), (vec![vec![1.0]], vec![vec![2.0], vec![3.0]], vec![vec![4.0]]));
    let tokens = [one.1.prompt_tokens, two.1.prompt_tokens, three.1.prompt_tokens];
    assert_eq!(tokens.iter().sum::<u32>(), 100, "{tokens:?}");
    assert!(tokens[0] < tokens[2] && tokens[2] < tokens[1], "{tokens:?}");
    let bytes: Vec<u64> = logs.iter().map(|log| log.snapshot()[0].bytes_out).collect();
    assert_eq!((bytes.as_slice(), bytes.iter().sum::<u64>()), (&[100, 500, 400][..], 1000));
    assert_eq!(logs.iter().map(|log| log.snapshot()[0].bytes_in).sum::<u64>(), 333);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_belong_together_is_not_joined() {
    let inner = Arc::new(Scripted::default());
    let apart = batcher(&inner, options());
    let mut ids = call("a", &[], None);
    let tokens = vec![PromptText::Tokens(vec![1, 2])];
    let task = Task::Embedding(Embedding { inputs: tokens, dimensions: None });
    ids.request = Arc::new(Request { task, ..(*ids.request).clone() });
    let answers = tokio::join!(
        apart.embed(call("a", &["x"], None)),
        apart.embed(call("b", &["y"], None)),
        apart.embed(call("a", &["z"], Some(4))),
        apart.embed(ids),
    );
    assert!(answers.0.is_ok() && answers.1.is_ok() && answers.2.is_ok() && answers.3.is_ok());
    assert_eq!(inner.calls().len(), 4);

    let inner = Arc::new(Scripted::default());
    let together = batcher(&inner, BatchOptions { across_apps: true, ..options() });
    let (one, two) =
        tokio::join!(together.embed(call("a", &["x"], None)), together.embed(call("b", &["y"], None)));
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(inner.calls(), [["x", "y"]]);
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_does_not_wait_and_large_requests_go_alone() {
    let inner = Arc::new(Scripted::default());
    let batcher = batcher(&inner, BatchOptions { window: Duration::from_secs(60), ..options() });
    let begun = Instant::now();
    let four = ["a", "b", "c", "d"];
    let (one, two) =
        tokio::join!(batcher.embed(call("a", &four, None)), batcher.embed(call("a", &four, None)));
    assert_eq!((one.unwrap().0.len(), two.unwrap().0.len()), (4, 4));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    // One that does not fit sends the batch off, and begins the next.
    let (one, two, three) = tokio::join!(
        batcher.embed(call("a", &four, None)),
        batcher.embed(call("a", &["a", "b", "c", "d", "e"], None)),
        batcher.embed(call("a", &["f", "g", "h"], None)),
    );
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(begun.elapsed(), Duration::ZERO);
    // As many inputs as a call may have, or much text, need no company.
    let long = "x".repeat(SMALL + 1);
    batcher.embed(call("a", &["a"; 8], None)).await.unwrap();
    batcher.embed(call("a", &[&long], None)).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    let mut sizes: Vec<usize> = inner.calls().iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 4, 8, 8, 8]);
}

#[tokio::test(start_paused = true)]
async fn an_error_reaches_each() {
    let inner = Arc::new(Scripted { fail: true, ..Scripted::default() });
    let batcher = batcher(&inner, options());
    let (one, two) = (call("a", &["x"], None), call("a", &["y"], None));
    let logs = [one.egress.clone(), two.egress.clone()];
    let (one, two) = tokio::join!(batcher.embed(one), batcher.embed(two));
    assert_eq!(one.unwrap_err().kind, BackendErrorKind::Overloaded);
    assert_eq!(two.unwrap_err().kind, BackendErrorKind::Overloaded);
    assert_eq!(inner.calls().len(), 1);
    assert!(logs.iter().all(|log| log.snapshot()[0].bytes_out == 500), "what was sent counts all the same");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_harms_nobody_whenever_it_goes() {
    let takes = Duration::from_millis(20);
    for (goes_after, sent) in [(2, vec!["y", "z"]), (10, vec!["x", "y", "z"])] {
        let inner = Arc::new(Scripted { takes, ..Scripted::default() });
        let batcher = batcher(&inner, options());
        let leaver = call("a", &["x"], None);
        let log = leaver.egress.clone();
        let leaving = tokio::time::timeout(Duration::from_millis(goes_after), batcher.embed(leaver));
        let (gone, two, three) = tokio::join!(
            leaving,
            batcher.embed(call("a", &["y"], None)),
            batcher.embed(call("a", &["z"], None))
        );
        assert!(gone.is_err());
        let (two, three) = (two.unwrap(), three.unwrap());
        assert_eq!((two.0, three.0), (vec![vec![1.0]], vec![vec![1.0]]));
        assert_eq!(inner.calls(), std::slice::from_ref(&sent), "texts that nobody waits for are not sent");
        let tokens = two.1.prompt_tokens + three.1.prompt_tokens;
        assert_eq!(tokens, 20);
        let noted = log.snapshot().first().map(|record| record.bytes_out);
        assert_eq!(noted, (sent.len() == 3).then_some(333), "what left the device is on its record");
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_everybody_left_is_not_sent_and_not_joined() {
    let inner = Arc::new(Scripted::default());
    let batcher = batcher(&inner, options());
    let early = Duration::from_millis(1);
    assert!(tokio::time::timeout(early, batcher.embed(call("a", &["x"], None))).await.is_err());
    let begun = Instant::now();
    batcher.embed(call("a", &["y"], None)).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_millis(5), "a new batch with its own time");
    assert_eq!(inner.calls(), [["y"]]);
    assert!(batcher.open.lock().unwrap().len() <= 1);
}

proptest! {
    #[test]
    fn shares_add_up(sizes in proptest::collection::vec(1usize..5000, 1..40), total: u32, bytes in 0u64..1 << 50) {
        let member = |size: &usize| {
            Some(Member { request: call("a", &[], None).request, inputs: Vec::new(), size: *size })
        };
        let members = Members { list: sizes.iter().map(member).collect(), sent: true };
        let weights: Vec<Weight> = (0..sizes.len()).map(|place| members.weight(place)).collect();
        let tokens: Vec<u32> = weights.iter().map(|weight| weight.share_of_tokens(total)).collect();
        prop_assert_eq!(tokens.iter().map(|share| u64::from(*share)).sum::<u64>(), u64::from(total));
        prop_assert_eq!(weights.iter().map(|weight| weight.share(bytes)).sum::<u64>(), bytes);
        prop_assert!(total < sizes.len() as u32 || tokens.iter().all(|share| *share > 0));
    }
}
