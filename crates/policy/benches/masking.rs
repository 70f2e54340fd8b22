//! What looking for sensitive text costs for each size of prompt, and what masking and restoring 10 KB takes.

#![expect(clippy::expect_used, reason = "a bench that cannot begin has nothing to measure")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use inshore_domain::request::{Chat, Hints, Message, OutputFormat, Part, Principal, Role};
use inshore_domain::{Delta, Event, FinishReason, Request, RequestId, Task, Timestamp, TraceId};
use inshore_policy::masking::{Mask, Restorer};
use inshore_policy::sensitivity::Detector;

/// A paragraph of a mail with what mails have in them.
const MAIL: &str = "Dear Anna Muster, thank you for your call of 12 March. The invoice 2031-0417 of 1,250.00 was sent to \
    anna.muster@example.org and to the branch in Zurich. Please pay to CH93 0076 2011 6238 5295 7 within 30 days, or call us at \
    +41 44 668 18 00 between 9 and 12. The machine at 192.0.2.17 will be replaced next week, so the report of the northern region \
    is late, and two of its tables are empty. Nothing else has changed since the last meeting.\n";

fn request(text: String) -> Request {
    let messages = vec![Message::text(Role::System, "You write e-mails."), Message::text(Role::User, text)];
    Request {
        id: RequestId::new(Timestamp::default(), 1),
        trace: TraceId::new(1),
        received_at: Timestamp::default(),
        admitted: Instant::now(),
        principal: Principal::default(),
        hints: Hints::default(),
        model: "auto".into(),
        task: Task::Chat(Chat { messages, ..Chat::default() }),
        stream: true,
        original: None,
    }
}

fn sized(bytes: usize) -> String {
    let text = MAIL.repeat(bytes / MAIL.len() + 1);
    text.get(..bytes).expect("ASCII").to_owned()
}

fn find(criterion: &mut Criterion) {
    let detector = Detector::default();
    let mut group = criterion.benchmark_group("find");
    for bytes in [512, 2_048, 10_240] {
        let text = sized(bytes);
        group.bench_function(format!("{bytes} bytes of mail"), |bencher| {
            bencher.iter(|| detector.find(black_box(&text)))
        });
    }
    let prose =
        "The quarterly report of the northern region is due on Friday, and two of its tables are empty. "
            .repeat(22);
    group.bench_function("2048 bytes of prose", |bencher| {
        bencher.iter(|| detector.find(black_box(prose.get(..2_048).expect("ASCII"))))
    });
    let foreign =
        "Der Bericht über die nördliche Region ist am Freitag fällig — zwei Tabellen sind leer. ".repeat(22);
    group.bench_function("2 KB of prose beyond ASCII", |bencher| {
        bencher.iter(|| detector.find(black_box(&foreign)))
    });
    group.finish();
}

fn mask(criterion: &mut Criterion) {
    let detector = Detector::default();
    let request = request(sized(10_240));
    let mut group = criterion.benchmark_group("mask");
    group.bench_function("apply to 10 KB", |bencher| {
        bencher.iter_batched(
            || request.clone(),
            |mut request| Mask::new().apply(&detector, &mut request).expect("few values"),
            criterion::BatchSize::SmallInput,
        )
    });
    let mut mask = Mask::new();
    let mut masked = request.clone();
    mask.apply(&detector, &mut masked).expect("few values");
    let mask = Arc::new(mask);
    let Task::Chat(chat) = &masked.task else { return };
    let Some(Part::Text(text)) = chat.messages.get(1).and_then(|message| message.content.first()) else {
        return;
    };
    let pieces: Vec<String> =
        text.as_bytes().chunks(5).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect();
    group.bench_function("restore 10 KB in pieces of 5 bytes", |bencher| {
        bencher.iter(|| {
            let mut restorer = Restorer::new(mask.clone(), &OutputFormat::Text);
            let mut events = Vec::with_capacity(pieces.len());
            for piece in &pieces {
                let delta = Delta::Text { text: piece.clone(), logprobs: Vec::new() };
                restorer.restore(Event::Delta { index: 0, delta }, &mut events);
            }
            restorer.restore(Event::Finished { index: 0, reason: FinishReason::Stop }, &mut events);
            events
        })
    });
    group.finish();
}

criterion_group!(benches, find, mask);
criterion_main!(benches);
