//! How the child lives: what it stops, keeps, gives up and gets back, and what ends it.

use std::io::Write;

use inshore_engine::frames::{
    Finish, FromChild, Generate, Load, Piece, Prompt, SavePrefix, StatePiece, ToChild, WorkError,
};

use crate::child_support::{Engine, file_of, generate, load, model};
use inshore_engine::synth::{self, Shape};

fn long(words: usize) -> String {
    (0..words).map(|word| format!("{}{} ", char::from(b'a' + (word % 26) as u8), word % 7)).collect()
}

/// The sandbox denies everything that is tried, and the child still works.
#[test]
fn nothing_leads_out() {
    let (mut engine, loaded) = Engine::with(&Shape::tiny(), load());
    assert!(loaded.sandbox.iter().any(|word| word == "seccomp"), "{:?}", loaded.sandbox);
    engine.send(&ToChild::Probe { id: 5 });
    let FromChild::Probed { attempts, .. } =
        engine.wait_for(|frame| matches!(frame, FromChild::Probed { .. }))
    else {
        unreachable!()
    };
    assert!(attempts.len() >= 17, "{attempts:?}");
    let open: Vec<_> = attempts.iter().filter(|attempt| !attempt.denied).collect();
    assert!(open.is_empty(), "{open:?}");
    assert!(!engine.run(generate(1, "still works", 4)).text().is_empty());
}

#[test]
fn generation_is_cancelled_within_a_step() {
    let mut engine = Engine::start(Load { context: 4096, ..load() });
    engine.send(&ToChild::Generate(Box::new(generate(1, "go on", 4000))));
    engine.wait_for(|frame| matches!(frame, FromChild::Text { id: 1, .. }));
    engine.send(&ToChild::Cancel { id: 1 });
    engine.send(&ToChild::Stats { id: 2 });
    // Frames are answered in order: the cancel is done when the counters come.
    let FromChild::Stats { stats, .. } = engine.wait_for(|frame| matches!(frame, FromChild::Stats { .. }))
    else {
        unreachable!()
    };
    assert_eq!(stats.live, 0);
    let frame = engine.wait_for(|frame| matches!(frame, FromChild::Failed { .. }));
    assert_eq!(frame, FromChild::Failed { id: 1, error: WorkError::Cancelled });
    // Nothing is computed after it.
    assert_eq!(engine.stats().steps, stats.steps);
}

#[test]
fn reading_a_prompt_is_cancelled_between_its_chunks() {
    let mut engine = Engine::start(Load { context: 16_384, batch: 64, ..load() });
    engine.send(&ToChild::Generate(Box::new(generate(1, &long(3500), 4))));
    engine.send(&ToChild::Cancel { id: 1 });
    let frame =
        engine.wait_for(|frame| matches!(frame, FromChild::Failed { .. } | FromChild::Finished { .. }));
    assert_eq!(frame, FromChild::Failed { id: 1, error: WorkError::Cancelled });
    let stats = engine.stats();
    assert!(stats.prompt_computed < 3500, "{stats:?}");
    // What was read before serves the same prompt later.
    let again = engine.run(generate(2, &long(3500), 4));
    assert_eq!(u64::from(again.cached_tokens), stats.prompt_computed);
}

#[test]
fn a_long_prompt_does_not_stall_those_who_generate() {
    let mut engine = Engine::start(Load { context: 8192, ..load() });
    engine.send(&ToChild::Generate(Box::new(generate(1, "short", 400))));
    engine.wait_for(|frame| matches!(frame, FromChild::Text { id: 1, .. }));
    let before = engine.stats();
    engine.send(&ToChild::Generate(Box::new(generate(2, &long(1500), 4))));
    engine.wait_for(|frame| matches!(frame, FromChild::Started { id: 2, .. }));
    let after = engine.stats();
    let (steps, made) = (after.steps - before.steps, after.generated - before.generated);
    assert!(steps >= 10, "the prompt was read in {steps} steps");
    assert!(made + 2 >= steps, "{made} tokens in {steps} steps");
}

#[test]
fn a_cache_that_is_too_small_delays_and_changes_nothing() {
    let run = |context: u32| {
        let mut engine = Engine::start(Load { context, retained_bytes: 0, ..load() });
        for id in 0..4 {
            let text = format!("{} {}", char::from(b'a' + id as u8), long(15));
            engine.send(&ToChild::Generate(Box::new(Generate {
                logprobs: Some(2),
                ..generate(id, &text, 100)
            })));
        }
        let outcomes: Vec<_> = (0..4).map(|id| engine.follow(id, 1)).collect();
        // The begin-of-text token may be shared.
        let prompts: u32 = outcomes.iter().map(|outcome| outcome.prompt_tokens - outcome.cached_tokens).sum();
        (outcomes, engine.stats().prompt_computed - u64::from(prompts))
    };
    let ((wide, none), (narrow, recomputed)) = (run(2048), run(256));
    assert_eq!(none, 0);
    assert!(recomputed > 0, "nothing was pushed out, so nothing was tested");
    for (wide, narrow) in wide.iter().zip(&narrow) {
        let (wide, narrow) = (&wide.answers[0], &narrow.answers[0]);
        assert_eq!(narrow.finish, Some(Finish::MaxTokens));
        assert_eq!(narrow.tokens.len(), 100);
        // Computed in one batch or one by one, the sums round differently: where two tokens are as good as equally likely,
        // and only there, the answers may part.
        if let Some(parting) = wide.tokens.iter().zip(&narrow.tokens).find(|(a, b)| a.id != b.id) {
            let gap = parting.0.top[0].2 - parting.0.top[1].2;
            assert!(gap < 0.02, "{parting:?}");
        }
    }
}

#[test]
fn the_end_of_the_context_ends_an_answer() {
    let mut engine = Engine::start(Load { context: 256, ..load() });
    let outcome = engine.run(generate(1, "on and on", 100_000));
    assert_eq!(outcome.answers[0].finish, Some(Finish::ContextFull));
    assert_eq!(outcome.prompt_tokens + outcome.answers[0].made, 257);
    let long = generate(2, &long(300), 5);
    let refused = engine.run(long.clone());
    assert!(
        matches!(refused.error, Some(WorkError::PromptTooLong { prompt, context: 256 }) if prompt > 300),
        "{refused:?}"
    );
    let shortened = engine.run(Generate { truncate_prompt: true, ..long });
    assert_eq!((shortened.error, shortened.prompt_tokens), (None, 251));
}

#[test]
fn retained_prefixes_keep_to_their_limit() {
    let (mut engine, loaded) = Engine::with(&Shape::tiny(), Load { retained_bytes: 100 * 512, ..load() });
    assert_eq!(loaded.kv_bytes_per_token, 256);
    for id in 0..20 {
        engine.run(generate(id, &format!("{id} {}", long(25)), 5));
    }
    let stats = engine.stats();
    assert!(stats.retained_bytes > 0 && stats.retained_bytes <= 100 * 512, "{stats:?}");
}

#[test]
fn a_pinned_prefix_outlives_the_process() {
    let pieces =
        vec![Piece::Markup(format!("<|im_start|>{}<|im_end|>", long(80))), Piece::Markup("and more".into())];
    let prompt = Prompt::Pieces(pieces);
    let save = Some(SavePrefix { key: "pin".into(), pieces: Some(1) });
    let mut first = Engine::start(load());
    let cold = first.run(Generate { prompt: prompt.clone(), save, ..generate(1, "", 12) });
    let mut saved: Vec<StatePiece> = Vec::new();
    while saved.last().is_none_or(|piece| !piece.last) {
        match first.wait_for(|frame| matches!(frame, FromChild::Saved(_))) {
            FromChild::Saved(piece) => saved.push(piece),
            other => panic!("{other:?}"),
        }
    }
    drop(first);
    let mut second = Engine::start(load());
    let restored = |engine: &mut Engine, pieces: &[StatePiece]| {
        for piece in pieces {
            engine.send(&ToChild::Restore(piece.clone()));
        }
        match engine.wait_for(|frame| matches!(frame, FromChild::Restored { .. })) {
            FromChild::Restored { error, .. } => error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(restored(&mut second, &saved), None);
    let warm = second.run(Generate { prompt: prompt.clone(), ..generate(1, "", 12) });
    assert_eq!(warm.text(), cold.text());
    assert_eq!(warm.cached_tokens as usize, saved[0].tokens.len());
    assert!(warm.cached_tokens > 80);
    // Damaged, or for another model: refused, and the child lives.
    let mut damaged = saved.clone();
    let middle = damaged[0].bytes.len() / 2;
    damaged[0].bytes[middle] ^= 1;
    assert!(restored(&mut second, &damaged).is_some());
    let mut other = Engine::with(&Shape { layers: 3, ..Shape::tiny() }, load()).0;
    assert!(restored(&mut other, &saved).is_some());
    assert!(!other.run(generate(1, "still alive", 3)).text().is_empty());
}

#[test]
fn frames_that_make_no_sense_end_the_child() {
    for garbage in [vec![0xff; 64], vec![3, 0, 0, 0, 0x63, 0x63, 0x63], vec![1, 0, 0, 0, 4]] {
        let mut engine = Engine::start(load());
        engine.socket.write_all(&garbage).unwrap();
        assert_eq!(engine.next(), None);
        assert_eq!(engine.process.wait().unwrap().code(), Some(1));
    }
    // The first frame must say what to load.
    let mut engine = Engine::spawn(model(&Shape::tiny()), Vec::new());
    engine.send(&ToChild::Stats { id: 1 });
    assert_eq!(engine.next(), None);
}

#[test]
fn a_closed_socket_ends_the_child_in_the_middle_of_its_work() {
    let mut engine = Engine::start(Load { context: 16_384, ..load() });
    engine.send(&ToChild::Generate(Box::new(generate(1, &long(3000), 4000))));
    engine.socket.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(engine.process.wait().unwrap().code(), Some(0));
}

#[test]
fn unused_it_uses_no_processor() {
    let mut engine = Engine::start(Load { threads: 2, ..load() });
    engine.run(generate(1, "warm up", 20));
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", engine.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    // The computing threads watch for work for some milliseconds, then sleep. Waits on a socket that stays silent.
    let (silent, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    silent.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let wait = || std::io::Read::read(&mut (&silent), &mut [0]).unwrap_err();
    wait();
    let before = used();
    wait();
    assert_eq!(used(), before, "clock ticks used while idle");
}

/// Broken files: refused, or the child dies; it never hangs, and never answers from a model that is cut short.
#[test]
fn broken_models_are_refused() {
    let mut whole = Vec::new();
    synth::llama_model(&Shape::tiny(), 7, &mut whole).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        let mut engine = Engine::spawn(file_of(bytes), Vec::new());
        engine.send(&ToChild::Load(load()));
        let first = engine.next();
        assert!(matches!(first, None | Some(FromChild::LoadFailed { .. })), "{what}: {first:?}");
    };
    refused(b"", "empty");
    refused(b"not a model at all", "text");
    for share in [1, 3, 10, 30, 60, 90, 99] {
        refused(&whole[..whole.len() * share / 100], &format!("{share} % of the file"));
    }
}

/// Bits flipped in the header, which llama.cpp parses: whatever happens, it happens in the child.
#[test]
fn flipped_bits_never_hang_the_child() {
    let mut whole = Vec::new();
    synth::llama_model(&Shape::tiny(), 7, &mut whole).unwrap();
    let mut random = 0x1234_5678_9abc_def1_u64;
    for _ in 0..40 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // The header has some 20 KB; the first KB has all the sizes.
            let at = random as usize % if random & 1 << 40 == 0 { 1024 } else { 20_000 };
            bytes[at] ^= 1 << (random >> 60 & 7);
        }
        let mut engine = Engine::spawn(file_of(&bytes), Vec::new());
        engine.send(&ToChild::Load(load()));
        if let Some(FromChild::Loaded(_)) = engine.next() {
            engine.send(&ToChild::Generate(Box::new(generate(1, "x", 3))));
            // An answer, an error or the end.
            while let Some(frame) = engine.next() {
                if matches!(frame, FromChild::Finished { .. } | FromChild::Failed { .. }) {
                    break;
                }
            }
        }
    }
}
