//! Prefixes on disk: saved when pinned, restored after a restart, private, bounded.

use std::path::Path;

use inshore_domain::Task;
use inshore_domain::request::{Chat, Message, Role};
use inshore_engine::frames::{FromChild, Piece, Prompt, StatePiece, ToChild};
use inshore_engine::pool::DeviceModel;

use crate::parent_support::{Bench, Engine, bench_with};

/// A chat whose system message is pinned.
fn pinned(user: &str) -> Task {
    let messages = vec![Message::text(Role::System, "You are terse."), Message::text(Role::User, user)];
    Task::Chat(Chat { messages, pin_through: Some(0), ..Chat::default() })
}

/// Another daemon over the same directory.
async fn daemon(dir: &Path, model: Option<&DeviceModel>) -> Bench {
    let bench = Bench::new(|options| {
        options.state_dir = Some(dir.to_owned());
        options.retained_bytes = 64 << 20;
    });
    bench.pool.set_models(vec![model.cloned().unwrap_or_else(|| bench.model("m"))]).await;
    bench
}

/// Waits until a file is there, or is gone.
async fn until_exists(path: &Path, there: bool) {
    while path.exists() != there {
        tokio::task::yield_now().await;
        tokio::task::spawn_blocking(|| {}).await.unwrap();
    }
}

/// What the child says when it saves a prefix.
fn save_in_pieces(engine: &Engine, key: &str, scope: u64, state: &[u8]) {
    let mut chunks = state.chunks(1 << 20).peekable();
    let mut tokens = vec![3, 1, 4];
    while let Some(chunk) = chunks.next() {
        let last = chunks.peek().is_none();
        let tokens = std::mem::take(&mut tokens);
        let piece = StatePiece { key: key.into(), scope, tokens, bytes: chunk.to_vec(), last };
        engine.say(&FromChild::Saved(piece));
    }
}

#[tokio::test]
async fn a_pinned_prefix_is_saved_and_restored_after_a_restart() {
    let states = tempfile::tempdir().unwrap();
    let dir = states.path().to_owned();
    let mut bench = daemon(&dir, None).await;
    let asked = bench.ask("m", pinned("Hi"));
    let mut engine = bench.engine().await;
    engine.loads().await;
    let work = engine.generate().await;
    let save = work.save.clone().unwrap();
    assert_eq!(save.pieces, Some(1));
    let Prompt::Pieces(pieces) = &work.prompt else { panic!() };
    assert_eq!(pieces[0], Piece::Markup("<|im_start|>system\nYou are terse.<|im_end|>".into()));
    engine.started(work.id);
    let state: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    save_in_pieces(&engine, &save.key, work.scope, &state);
    engine.finish(work.id);
    asked.await.unwrap().unwrap();
    let path = dir.join(&save.key).with_extension("prefix");
    until_exists(&path, true).await;
    // Asked again, it is not saved again.
    let asked = bench.ask("m", pinned("Again"));
    let again = engine.generate().await;
    assert_eq!(again.save, None);
    engine.started(again.id);
    engine.finish(again.id);
    asked.await.unwrap().unwrap();
    bench.pool.shutdown().await;

    // The same file under the same name, another daemon.
    let model = crate::parent_support::device_model("m", bench.dir.path().join("m.gguf"));
    let mut second = daemon(&dir, Some(&model)).await;
    let asked = second.ask("m", pinned("Hi"));
    let mut engine = second.engine().await;
    engine.loads().await;
    let (mut restored, mut done, mut generated) = (Vec::new(), false, false);
    while !(done && generated) {
        match engine.next().await {
            ToChild::Restore(piece) => {
                assert_eq!((piece.key.as_str(), piece.scope), (save.key.as_str(), work.scope));
                assert_eq!(piece.tokens, if restored.is_empty() { vec![3, 1, 4] } else { Vec::new() });
                restored.extend(piece.bytes);
                done = piece.last;
            }
            ToChild::Generate(work) => {
                generated = true;
                engine.started(work.id);
                engine.finish(work.id);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(restored, state);
    asked.await.unwrap().unwrap();
    second.pool.shutdown().await;
}

#[tokio::test]
async fn a_damaged_file_is_deleted() {
    let states = tempfile::tempdir().unwrap();
    let dir = states.path().to_owned();
    let path = dir.join("00".repeat(32)).with_extension("prefix");
    std::fs::write(&path, [7; 2000]).unwrap();
    let mut third = daemon(&dir, None).await;
    let loading = {
        let pool = third.pool.clone();
        tokio_util::task::TaskTracker::new().spawn(async move { pool.load("m").await })
    };
    let mut engine = third.engine().await;
    engine.loads().await;
    loading.await.unwrap().unwrap();
    until_exists(&path, false).await;
}

#[cfg(unix)]
#[tokio::test]
async fn saved_prefixes_are_private_and_only_those_asked_for() {
    use std::os::unix::fs::PermissionsExt;
    let states = tempfile::tempdir().unwrap();
    let dir = states.path().join("prefixes");
    let mut bench = bench_with(&["m"], |options| {
        options.state_dir = Some(dir.clone());
        options.state_limit = 600;
    })
    .await;
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    let save = |engine: &Engine, key: &str, scope: u64, bytes: usize| {
        engine.say(&FromChild::Saved(StatePiece {
            key: key.into(),
            scope,
            tokens: vec![1],
            bytes: vec![0; bytes],
            last: true,
        }));
    };
    let mut engine: Option<Engine> = None;
    let mut keys = Vec::new();
    for system in ["one", "two", "three"] {
        let messages = vec![Message::text(Role::System, system), Message::text(Role::User, "x")];
        let asked = bench.ask("m", Task::Chat(Chat { messages, pin_through: Some(0), ..Chat::default() }));
        if engine.is_none() {
            let mut started = bench.engine().await;
            started.loads().await;
            engine = Some(started);
        }
        let engine = engine.as_mut().unwrap();
        let work = engine.generate().await;
        let key = work.save.unwrap().key;
        save(engine, "0000", work.scope, 10);
        save(engine, &key, work.scope.wrapping_add(1), 10);
        save(engine, &key, work.scope, 100);
        engine.started(work.id);
        engine.finish(work.id);
        asked.await.unwrap().unwrap();
        let path = dir.join(&key).with_extension("prefix");
        until_exists(&path, true).await;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        keys.push(key);
    }
    bench.pool.shutdown().await;
    let mut left: Vec<String> = std::fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let mut expected: Vec<String> = keys[1..].iter().map(|key| format!("{key}.prefix")).collect();
    expected.sort();
    assert_eq!(left, expected, "the first has left by least recent use");
}
