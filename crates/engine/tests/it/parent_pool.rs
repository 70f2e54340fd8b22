//! The pool over engines that are tasks: loading, sharing, unloading, crashing, and what clients see of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use inshore_domain::{BackendErrorKind, Capability, Event, FinishReason};
use inshore_engine::frames::{FromChild, Loaded, Piece, Prompt, StatePiece, ToChild};
use inshore_engine::pool::{DeviceModel, ModelState};

use crate::parent_support::{Bench, Gguf, TestMemory, bench, bench_with, call, chat, run};

fn state(bench: &Bench, id: &str) -> ModelState {
    bench.pool.status().into_iter().find(|status| status.id == id).unwrap().state
}

fn is_loaded(bench: &Bench, id: &str) -> bool {
    matches!(state(bench, id), ModelState::Loaded { .. })
}

/// Lets all tasks that can run do so.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_answer_streams_with_usage() {
    let mut bench = bench(&["m"]).await;
    let asked = bench.ask("m", chat("Hi"));
    let mut engine = bench.engine().await;
    let load = engine.loads().await;
    assert_eq!((load.context, load.embeddings, load.adapters.len()), (4096, false, 0));
    let work = engine.generate().await;
    assert_eq!(
        work.prompt,
        Prompt::Pieces(vec![Piece::Markup("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n".into())])
    );
    engine.started(work.id);
    engine.text(work.id, "Hel");
    engine.text(work.id, "lo");
    engine.finish(work.id);
    let said = asked.await.unwrap().unwrap();
    assert_eq!(said.events.first(), Some(&Event::Started { model: "m".into() }));
    assert_eq!((said.text.as_str(), said.error), ("Hello", None));
    assert_eq!(said.finished, [FinishReason::Stop]);
    let usage = said.usage.unwrap();
    assert_eq!((usage.prompt_tokens, usage.cached_tokens, usage.output_tokens), (10, 4, 3));
    assert_eq!(bench.launcher.started.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn many_who_ask_at_once_share_one_load() {
    let mut bench = bench(&["m"]).await;
    let asked: Vec<_> = (0..20).map(|_| bench.ask("m", chat("Hi"))).collect();
    settle().await;
    let engine = bench.engine().await;
    tokio_util::task::TaskTracker::new().spawn(engine.serve("yes"));
    for asked in asked {
        assert_eq!(asked.await.unwrap().unwrap().text, "yes");
    }
    assert_eq!(bench.launcher.started.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn one_who_leaves_while_the_model_loads_does_not_stop_the_others() {
    let mut bench = bench(&["m"]).await;
    let first = bench.ask("m", chat("Hi"));
    let mut engine = bench.engine().await;
    let second = bench.ask("m", chat("Hi"));
    engine.load().await;
    first.abort();
    settle().await;
    engine.say(&FromChild::Loaded(Loaded::default()));
    tokio_util::task::TaskTracker::new().spawn(engine.serve("yes"));
    assert_eq!(second.await.unwrap().unwrap().text, "yes");
}

#[tokio::test]
async fn a_crash_is_an_error_for_its_requests_and_the_next_request_gets_an_answer() {
    let mut bench = bench(&["m", "other"]).await;
    let other = bench.ask("other", chat("Hi"));
    let other_engine = bench.engine().await;
    tokio_util::task::TaskTracker::new().spawn(other_engine.serve("still here"));
    assert_eq!(other.await.unwrap().unwrap().text, "still here");

    let asked = bench.ask("m", chat("Hi"));
    let mut engine = bench.engine().await;
    engine.loads().await;
    let work = engine.generate().await;
    engine.started(work.id);
    engine.text(work.id, "Hel");
    settle().await;
    engine.crash("signal 11 (segmentation fault)");
    let said = asked.await.unwrap().unwrap();
    assert_eq!(said.text, "Hel");
    let error = said.error.unwrap();
    assert_eq!(error.kind, BackendErrorKind::Failed);
    assert_eq!(error.message, "the engine for `m` crashed: signal 11 (segmentation fault)");

    let again = bench.ask("m", chat("Hi"));
    tokio_util::task::TaskTracker::new().spawn(bench.engine().await.serve("back"));
    assert_eq!(again.await.unwrap().unwrap().text, "back");
    assert_eq!(bench.ask("other", chat("Hi")).await.unwrap().unwrap().text, "still here");
    assert_eq!(bench.launcher.started.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_crash_before_the_first_event_is_an_error_of_the_call() {
    let mut bench = bench(&["m"]).await;
    let asked = bench.ask("m", chat("Hi"));
    let mut engine = bench.engine().await;
    engine.loads().await;
    engine.generate().await;
    engine.crash("exit status 1");
    assert_eq!(asked.await.unwrap().unwrap_err().kind, BackendErrorKind::Failed);
}

#[tokio::test]
async fn a_child_that_breaks_the_protocol_is_ended() {
    for bytes in [
        vec![0xff; 64],
        [5u32.to_le_bytes().as_slice(), &[99, 1, 2, 3, 4]].concat(),
        [1u32.to_le_bytes().as_slice(), &[0]].concat(),
    ] {
        let mut bench = bench(&["m"]).await;
        let asked = bench.ask("m", chat("Hi"));
        let mut engine = bench.engine().await;
        engine.loads().await;
        let work = engine.generate().await;
        engine.started(work.id);
        engine.say_bytes(bytes);
        engine.killed().await;
        let error = asked.await.unwrap().unwrap().error.unwrap();
        assert!(error.message.contains("it broke the protocol"), "{error}");
    }
}

#[tokio::test]
async fn a_child_that_sends_more_than_it_may_is_ended() {
    let piece =
        |bytes, tokens| StatePiece { key: "k".into(), scope: 0, tokens: vec![1; tokens], bytes, last: false };
    for piece in [piece(vec![0; (1 << 20) + 1], 1), piece(vec![0], (2 << 20) + 1)] {
        let mut bench = bench(&["m"]).await;
        let asked = bench.ask("m", chat("Hi"));
        let mut engine = bench.engine().await;
        engine.loads().await;
        let work = engine.generate().await;
        engine.started(work.id);
        engine.say(&FromChild::Saved(piece));
        engine.killed().await;
        let error = asked.await.unwrap().unwrap().error.unwrap();
        assert!(error.message.ends_with("it sent a piece of saved state that is too large"), "{error}");
    }
}

#[tokio::test]
async fn a_prompt_that_is_read_twice_is_an_error() {
    let mut bench = bench(&["m"]).await;
    let asked = bench.ask("m", chat("Hi"));
    let mut engine = bench.engine().await;
    engine.loads().await;
    let work = engine.generate().await;
    engine.started(work.id);
    engine.started(work.id);
    assert_eq!(asked.await.unwrap().unwrap().error.unwrap().kind, BackendErrorKind::Protocol);
}

#[tokio::test]
async fn frames_for_nobody_and_for_answers_that_are_not_open_do_no_harm() {
    let mut bench = bench(&["m"]).await;
    let asked = bench.ask("m", chat("Hi"));
    let mut engine = bench.engine().await;
    engine.loads().await;
    let work = engine.generate().await;
    engine.text(9999, "for nobody");
    engine.say(&FromChild::Saved(StatePiece {
        key: "../../evil".into(),
        scope: 0,
        tokens: vec![1],
        bytes: vec![1],
        last: true,
    }));
    engine.started(work.id);
    engine.say(&FromChild::Text { id: work.id, answer: 7, text: "x".into(), tokens: Vec::new() });
    let error = asked.await.unwrap().unwrap().error.unwrap();
    assert_eq!(error.kind, BackendErrorKind::Protocol);
    // The work was given up, the child lives.
    assert_eq!(engine.next().await, ToChild::Cancel { id: work.id });
    assert!(is_loaded(&bench, "m"));
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_work() {
    let mut bench = bench(&["m"]).await;
    let (target, backend) = bench.backend("m");
    let running = {
        let call = call(target, chat("Hi"));
        tokio_util::task::TaskTracker::new().spawn(async move { backend.generate(call).await })
    };
    let mut engine = bench.engine().await;
    engine.loads().await;
    let work = engine.generate().await;
    engine.started(work.id);
    let mut events = running.await.unwrap().unwrap();
    assert!(matches!(events.next().await, Some(Ok(Event::Started { .. }))));
    drop(events);
    assert_eq!(engine.next().await, ToChild::Cancel { id: work.id });
    // While the prompt is still being read as well.
    let asked = bench.ask("m", chat("Hi"));
    let work = engine.generate().await;
    asked.abort();
    assert_eq!(engine.next().await, ToChild::Cancel { id: work.id });
}

#[tokio::test]
async fn a_client_that_does_not_read_stalls_nobody() {
    let mut bench = bench(&["m"]).await;
    let (target, backend) = bench.backend("m");
    let slow = {
        let (call, backend) = (call(target, chat("slow")), Arc::clone(&backend));
        tokio_util::task::TaskTracker::new().spawn(async move { backend.generate(call).await })
    };
    let mut engine = bench.engine().await;
    engine.loads().await;
    let work = engine.generate().await;
    engine.started(work.id);
    let mut events = slow.await.unwrap().unwrap();
    for _ in 0..10_000 {
        engine.text(work.id, "x");
    }
    engine.finish(work.id);
    let quick = bench.ask("m", chat("quick"));
    let other = engine.generate().await;
    engine.started(other.id);
    engine.text(other.id, "now");
    engine.finish(other.id);
    assert_eq!(quick.await.unwrap().unwrap().text, "now");
    // And the slow one still gets everything.
    let mut letters = 0;
    while let Some(event) = events.next().await {
        letters += usize::from(matches!(event.unwrap(), Event::Delta { .. }));
    }
    assert_eq!(letters, 10_000);
}

#[tokio::test(start_paused = true)]
async fn an_idle_model_is_unloaded_after_keep_alive_and_not_before() {
    let mut bench = bench_with(&["m"], |options| options.keep_alive = Some(Duration::from_secs(60))).await;
    let asked = bench.ask("m", chat("Hi"));
    tokio_util::task::TaskTracker::new().spawn(bench.engine().await.serve("yes"));
    asked.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert!(is_loaded(&bench, "m"));
    // Use puts it off.
    bench.ask("m", chat("Hi")).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert!(is_loaded(&bench, "m"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    settle().await;
    assert_eq!(state(&bench, "m"), ModelState::Unloaded);
}

#[tokio::test(start_paused = true)]
async fn a_model_is_never_unloaded_under_a_running_request() {
    let mut bench = bench_with(&["m"], |options| options.keep_alive = Some(Duration::ZERO)).await;
    let asked = bench.ask("m", chat("Hi"));
    let mut engine = bench.engine().await;
    engine.loads().await;
    let work = engine.generate().await;
    engine.started(work.id);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(is_loaded(&bench, "m"));
    assert!(!bench.pool.unload("m").await.unwrap());
    engine.text(work.id, "late");
    engine.finish(work.id);
    assert_eq!(asked.await.unwrap().unwrap().text, "late");
    engine.killed().await;
    settle().await;
    assert_eq!(state(&bench, "m"), ModelState::Unloaded);
}

#[tokio::test(start_paused = true)]
async fn without_keep_alive_a_model_stays() {
    let mut bench = bench_with(&["m"], |options| options.keep_alive = None).await;
    let asked = bench.ask("m", chat("Hi"));
    tokio_util::task::TaskTracker::new().spawn(bench.engine().await.serve("yes"));
    asked.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(1_000_000)).await;
    assert!(is_loaded(&bench, "m"));
    assert!(bench.pool.unload("m").await.unwrap());
    assert_eq!(state(&bench, "m"), ModelState::Unloaded);
}

/// What one model of the bench needs.
fn need(bench: &Bench) -> u64 {
    bench.pool.status()[0].estimate.unwrap().total()
}

#[tokio::test]
async fn the_longest_unused_model_makes_room() {
    let mut bench = bench_with(&["a", "b", "c"], |options| options.memory_limit = Some(1 << 40)).await;
    let one = need(&bench);
    // Room for two and a half.
    let mut bench = {
        bench.engines.close();
        bench_with(&["a", "b", "c"], |options| options.memory_limit = Some(one * 5 / 2)).await
    };
    for id in ["a", "b", "a"] {
        let asked = bench.ask(id, chat("Hi"));
        settle().await;
        if let Ok(engine) = bench.engines.try_recv() {
            tokio_util::task::TaskTracker::new().spawn(engine.serve("yes"));
        }
        asked.await.unwrap().unwrap();
    }
    let asked = bench.ask("c", chat("Hi"));
    tokio_util::task::TaskTracker::new().spawn(bench.engine().await.serve("yes"));
    asked.await.unwrap().unwrap();
    assert!(is_loaded(&bench, "a") && is_loaded(&bench, "c"));
    assert_eq!(state(&bench, "b"), ModelState::Unloaded);
}

#[tokio::test]
async fn a_model_that_does_not_fit_is_refused_with_the_arithmetic_before_anything_is_started() {
    let memory = TestMemory::of(1 << 40);
    let bench = Bench::with_memory(Arc::clone(&memory), |_| {});
    bench.pool.set_models(vec![bench.model("m")]).await;
    memory.available.store(1_000_000, Ordering::SeqCst);
    let error = bench.ask("m", chat("Hi")).await.unwrap().unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::ModelUnusable);
    insta::assert_snapshot!(error.message);
    assert_eq!(bench.launcher.started.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_model_in_use_is_not_pushed_out() {
    let first = bench(&["a", "b"]).await;
    let one = need(&first);
    let mut bench = bench_with(&["a", "b"], |options| options.memory_limit = Some(one * 3 / 2)).await;
    let busy = bench.ask("a", chat("Hi"));
    let mut engine = bench.engine().await;
    engine.loads().await;
    let work = engine.generate().await;
    let error = bench.ask("b", chat("Hi")).await.unwrap().unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::Overloaded);
    assert!(error.message.ends_with("and `a` in use"), "{error}");
    engine.started(work.id);
    engine.finish(work.id);
    assert_eq!(busy.await.unwrap().unwrap().error, None);
}

#[tokio::test]
async fn the_context_shrinks_to_what_the_machine_can_hold() {
    let gguf =
        || Gguf::chat().u32("llama.attention.key_length", 4096).u32("llama.attention.value_length", 4096);
    let first = Bench::new(|_| {});
    first.pool.set_models(vec![first.model_of("m", &gguf())]).await;
    let estimate = first.pool.status()[0].estimate.unwrap();
    assert_eq!(estimate.context, 4096);
    let bench = Bench::with_memory(TestMemory::of(estimate.total() - estimate.kv() / 2), |_| {});
    bench.pool.set_models(vec![bench.model_of("m", &gguf())]).await;
    assert_eq!(bench.backend("m").0.context_window, 2048);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_kills_its_engine_again_and_again_is_left_alone_for_a_while() {
    let mut bench = bench(&["m"]).await;
    for _ in 0..3 {
        let asked = bench.ask("m", chat("Hi"));
        let mut engine = bench.engine().await;
        engine.load().await;
        engine.crash("signal 6 (abort)");
        let error = asked.await.unwrap().unwrap_err();
        assert_eq!(error.message, "the engine for `m` crashed while loading the model: signal 6 (abort)");
    }
    let error = bench.ask("m", chat("Hi")).await.unwrap().unwrap_err();
    assert_eq!(error.message, "the engine for `m` crashed 3 times within a minute");
    assert_eq!(error.kind, BackendErrorKind::ModelUnusable);
    assert_eq!(bench.launcher.started.load(Ordering::SeqCst), 3);
    tokio::time::sleep(Duration::from_secs(61)).await;
    let asked = bench.ask("m", chat("Hi"));
    tokio_util::task::TaskTracker::new().spawn(bench.engine().await.serve("better"));
    assert_eq!(asked.await.unwrap().unwrap().text, "better");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_takes_for_ever_is_given_up() {
    let mut bench = bench_with(&["m"], |options| options.load_timeout = Duration::from_secs(5)).await;
    let asked = bench.ask("m", chat("Hi"));
    let engine = bench.engine().await;
    assert_eq!(asked.await.unwrap().unwrap_err().message, "`m` was not loaded within 5 s");
    engine.killed().await;
}

#[tokio::test]
async fn what_the_child_says_of_a_bad_model_reaches_the_client() {
    let mut bench = bench(&["m"]).await;
    let asked = bench.ask("m", chat("Hi"));
    let mut engine = bench.engine().await;
    engine.load().await;
    engine.say(&FromChild::LoadFailed { message: "unknown architecture `x`".into() });
    let error = asked.await.unwrap().unwrap_err();
    assert_eq!(error.message, "`m` cannot be loaded: unknown architecture `x`");
}

#[tokio::test]
async fn capabilities_follow_the_file() {
    let bench = Bench::new(|_| {});
    let bare = Gguf::new("llama").u32("llama.context_length", 512).tensor("token_embd.weight", &[64, 8], 0);
    bench.pool.set_models(vec![bench.model("chat"), bench.model_of("bare", &bare)]).await;
    let has = |id: &str, capability| bench.backend(id).0.capabilities.has(capability);
    assert!(
        has("chat", Capability::Tools) && has("chat", Capability::Infill) && has("chat", Capability::Chat)
    );
    assert!(
        has("bare", Capability::Chat) && !has("bare", Capability::Tools) && !has("bare", Capability::Infill)
    );
    assert!(!has("bare", Capability::Embeddings) && !has("bare", Capability::Adapters));
    assert_eq!(bench.backend("bare").0.context_window, 512);
}

#[tokio::test]
async fn broken_files_are_shown_and_not_offered() {
    let bench = Bench::new(|_| {});
    let whole = Gguf::chat().bytes();
    let path = bench.dir.path().join("cut.gguf");
    std::fs::write(&path, &whole[..whole.len() - 3000]).unwrap();
    let missing = DeviceModel { path: bench.dir.path().join("none.gguf"), ..bench.model("missing") };
    bench
        .pool
        .set_models(vec![bench.model("good"), crate::parent_support::device_model("cut", path), missing])
        .await;
    assert_eq!(bench.pool.registered().len(), 1);
    let broken = |id: &str| match state(&bench, id) {
        ModelState::Broken(error) => error,
        other => panic!("{other:?}"),
    };
    assert!(broken("cut").message.contains("truncated"), "{}", broken("cut"));
    assert_eq!(broken("cut").hint.as_deref(), Some("download it again"));
    assert!(broken("missing").message.contains("cannot be opened"));
}

#[tokio::test]
async fn a_file_that_was_replaced_is_not_loaded_unseen() {
    let bench = bench(&["m"]).await;
    bench.file("m", &Gguf::chat().text("general.author", "somebody else"));
    let error = bench.ask("m", chat("Hi")).await.unwrap().unwrap_err();
    assert_eq!(error.message, "the file of `m` has changed on disk");
    assert_eq!(bench.launcher.started.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn models_can_be_changed_while_running() {
    let mut bench = bench(&["a", "b"]).await;
    for id in ["a", "b"] {
        let asked = bench.ask(id, chat("Hi"));
        tokio_util::task::TaskTracker::new().spawn(bench.engine().await.serve("yes"));
        asked.await.unwrap().unwrap();
    }
    let (target, gone) = bench.backend("b");
    bench
        .pool
        .set_models(vec![crate::parent_support::device_model("a", bench.dir.path().join("a.gguf"))])
        .await;
    settle().await;
    assert!(is_loaded(&bench, "a"));
    assert_eq!(bench.pool.registered().len(), 1);
    // A request on its way to the model that is gone still gets an answer.
    let late = tokio_util::task::TaskTracker::new()
        .spawn(async move { run(gone.as_ref(), target, chat("Hi")).await });
    settle().await;
    tokio_util::task::TaskTracker::new().spawn(bench.engine().await.serve("late"));
    assert_eq!(late.await.unwrap().unwrap().text, "late");
}

#[tokio::test]
async fn shutdown_ends_everything_and_waits() {
    let mut bench = bench(&["m"]).await;
    let asked = bench.ask("m", chat("Hi"));
    let mut engine = bench.engine().await;
    engine.loads().await;
    let work = engine.generate().await;
    engine.started(work.id);
    settle().await;
    bench.pool.shutdown().await;
    assert!(engine.is_killed());
    assert_eq!(asked.await.unwrap().unwrap().error.unwrap().kind, BackendErrorKind::ShuttingDown);
    assert_eq!(bench.ask("m", chat("Hi")).await.unwrap().unwrap_err().kind, BackendErrorKind::ShuttingDown);
}
