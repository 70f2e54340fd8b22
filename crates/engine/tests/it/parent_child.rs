//! The pool with the real engine: processes, sandbox, llama.cpp.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use inshore_domain::request::{
    Chat, Completion, Embedding, Json, Message, OutputFormat, PromptText, Role, Sampling, Tool, ToolChoice,
};
use inshore_domain::{BackendErrorKind, Delta, Event, Task};
use inshore_engine::host::CommandLauncher;
use inshore_engine::pool::{DeviceModel, DevicePool, ModelState, Overrides, PoolOptions, SystemMemory};
use inshore_engine::synth::{Shape, llama_model, lora_adapter};
use rustix::process::{Pid, Signal, kill_process};

use crate::parent_support::{CHATML, Said, TestClock, call, chat, collect, complete, device_model, run};

pub(crate) struct Real {
    pub(crate) pool: DevicePool,
    dir: tempfile::TempDir,
}

pub(crate) fn launcher() -> CommandLauncher {
    CommandLauncher { program: env!("CARGO_BIN_EXE_inshore-engine-child").into(), arguments: Vec::new() }
}

impl Real {
    pub(crate) fn new(change: impl FnOnce(&mut PoolOptions)) -> Self {
        let mut options =
            PoolOptions::new(Arc::new(launcher()), Arc::new(TestClock::default()), Arc::new(SystemMemory));
        options.context = 512;
        options.threads = Some(2);
        change(&mut options);
        Self { pool: DevicePool::new(options), dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn model(&self, id: &str, shape: &Shape) -> DeviceModel {
        let path = self.dir.path().join(format!("{id}.gguf"));
        llama_model(shape, 1, &mut std::fs::File::create(&path).unwrap()).unwrap();
        device_model(id, path)
    }

    pub(crate) async fn ask(&self, id: &str, task: Task) -> Result<Said, inshore_domain::BackendError> {
        let (target, backend, _) = self.registered(id);
        run(backend.as_ref(), target, task).await
    }

    pub(crate) fn registered(&self, id: &str) -> inshore_engine::pool::Registered {
        let found = self.pool.registered().into_iter().find(|(target, ..)| target.model == id);
        found.unwrap_or_else(|| panic!("no {id}: {:?}", self.pool.status()))
    }

    pub(crate) fn pid(&self, id: &str) -> Pid {
        let status = self.pool.status().into_iter().find(|status| status.id == id).unwrap();
        match status.state {
            ModelState::Loaded { pid: Some(pid), .. } => Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn tiny() -> Shape {
    Shape { chat_template: Some(CHATML.into()), infill: true, ..Shape::tiny() }
}

fn greedy(max_tokens: u32) -> Sampling {
    Sampling { temperature: Some(0.0), max_tokens: Some(max_tokens), ignore_eos: true, ..Sampling::default() }
}

pub(crate) fn completion(text: &str, max_tokens: u32) -> Task {
    Task::Completion(Completion {
        prompts: vec![PromptText::Text(text.into())],
        sampling: greedy(max_tokens),
        ..Completion::default()
    })
}

fn default_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/default/inshore-default-q8_0.gguf")
}

#[tokio::test]
async fn the_default_model_finishes_a_sentence_in_a_sandbox() {
    let real = Real::new(|options| options.require_sandbox = cfg!(target_os = "linux"));
    real.pool.set_models(vec![device_model("inshore-default", default_model())]).await;
    let said = real.ask("inshore-default", completion("Thank you for your", 8)).await.unwrap();
    assert_eq!(said.error, None);
    assert!(said.text.split_whitespace().count() >= 3, "{:?}", said.text);
    let usage = said.usage.unwrap();
    assert!(usage.prompt_tokens >= 4 && usage.output_tokens == 8, "{usage:?}");
    // The same again, with the prompt's state re-used and the same words.
    let again = real.ask("inshore-default", completion("Thank you for your", 8)).await.unwrap();
    assert_eq!(again.text, said.text);
    assert!(again.usage.unwrap().cached_tokens > 0, "{:?}", again.usage);
    // Chat goes on with the text.
    let chat = real.ask("inshore-default", chat("I am writing to")).await.unwrap();
    assert!(chat.error.is_none() && !chat.text.is_empty());
    let (loaded, attempts) = real.pool.probe("inshore-default").await.unwrap();
    assert!(!attempts.is_empty());
    if cfg!(target_os = "linux") {
        assert!(attempts.iter().all(|attempt| attempt.denied), "{attempts:?}");
        assert!(!loaded.sandbox.is_empty());
    }
    real.pool.shutdown().await;
}

#[tokio::test]
async fn a_child_that_is_killed_in_the_middle_is_an_error_and_the_next_request_gets_an_answer() {
    let real = Real::new(|_| {});
    real.pool.set_models(vec![real.model("m", &tiny())]).await;
    let (target, backend, _) = real.registered("m");
    let mut events = backend.generate(call(target, completion("abc", 400))).await.unwrap();
    loop {
        if matches!(events.next().await.unwrap().unwrap(), Event::Delta { .. }) {
            break;
        }
    }
    let pid = real.pid("m");
    kill_process(pid, Signal::KILL).unwrap();
    let said = collect(events).await;
    let error = said.error.expect("the answer ended as if nothing had happened");
    assert_eq!(error.kind, BackendErrorKind::Failed);
    assert!(error.message.starts_with("the engine for `m` crashed: signal 9"), "{error}");
    let said = real.ask("m", completion("abc", 5)).await.unwrap();
    assert_eq!((said.error, said.usage.unwrap().output_tokens), (None, 5));
    assert_ne!(real.pid("m"), pid);
    real.pool.shutdown().await;
}

#[tokio::test]
async fn a_pinned_prefix_is_used_again_after_a_restart() {
    let states = tempfile::tempdir().unwrap();
    let dir = states.path().join("prefixes");
    let system = "You are a careful assistant who answers in few words and never guesses.";
    let task = |user: &str| {
        let messages = vec![Message::text(Role::System, system), Message::text(Role::User, user)];
        Task::Chat(Chat { messages, pin_through: Some(0), sampling: greedy(4), ..Chat::default() })
    };
    let start = || Real::new(|options| options.state_dir = Some(dir.clone()));
    let first = start();
    let model = first.model("m", &tiny());
    first.pool.set_models(vec![model.clone()]).await;
    let cold = first.ask("m", task("one")).await.unwrap();
    assert_eq!(cold.error, None);
    assert_eq!(cold.usage.unwrap().cached_tokens, 0);
    let saved = || {
        std::fs::read_dir(&dir)
            .unwrap()
            .flatten()
            .any(|entry| entry.path().extension().is_some_and(|ext| ext == "prefix"))
    };
    while !saved() {
        tokio::task::spawn_blocking(std::thread::yield_now).await.unwrap();
    }
    first.pool.shutdown().await;

    let second = start();
    second.pool.set_models(vec![model]).await;
    second.pool.load("m").await.unwrap();
    // Restoring goes on while the first requests run; a request that comes after it finds the state.
    let mut warm = second.ask("m", task("two")).await.unwrap();
    for nth in 0..20 {
        if warm.usage.unwrap().cached_tokens > 40 {
            break;
        }
        warm = second.ask("m", task(&format!("again {nth}"))).await.unwrap();
    }
    assert!(warm.usage.unwrap().cached_tokens > 40, "{:?}", warm.usage);
    // And the state was the right one: the same answer as without it.
    let restored = second.ask("m", task("one")).await.unwrap();
    assert_eq!(restored.text, cold.text);
    second.pool.shutdown().await;
}

#[tokio::test]
async fn a_demanded_call_is_made_and_a_schema_is_kept() {
    let real = Real::new(|_| {});
    real.pool.set_models(vec![real.model("m", &tiny())]).await;
    let schema = r#"{"type":"object","properties":{"city":{"enum":["Paris","Rome"]}},"required":["city"],"additionalProperties":false}"#;
    let tool = Tool {
        name: "weather".into(),
        description: None,
        parameters: Some(Json(schema.into())),
        strict: true,
    };
    let messages = vec![Message::text(Role::User, "Weather?")];
    let sampling = Sampling { max_tokens: Some(300), seed: Some(1), ..Sampling::default() };
    let task = Chat {
        messages: messages.clone(),
        tools: vec![tool],
        tool_choice: ToolChoice::Function("weather".into()),
        sampling: sampling.clone(),
        ..Chat::default()
    };
    let said = real.ask("m", Task::Chat(task)).await.unwrap();
    assert_eq!(said.error, None);
    let (name, arguments) = said.calls.first().unwrap_or_else(|| panic!("{said:?}"));
    assert_eq!(name, "weather");
    let arguments: serde_json::Value = serde_json::from_str(arguments).unwrap();
    assert!(["Paris", "Rome"].contains(&arguments["city"].as_str().unwrap()), "{arguments}");

    let output = OutputFormat::JsonSchema { name: "n".into(), schema: Json(schema.into()) };
    let said =
        real.ask("m", Task::Chat(Chat { messages, output, sampling, ..Chat::default() })).await.unwrap();
    let answer: serde_json::Value =
        serde_json::from_str(&said.text).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    assert!(answer["city"].is_string());
    real.pool.shutdown().await;
}

#[tokio::test]
async fn gaps_adapters_embeddings_counts_and_limits() {
    let real = Real::new(|_| {});
    let embedding = Shape { pooling: Some(1), ..Shape::tiny() };
    let path = real.dir.path().join("lora.gguf");
    lora_adapter(&tiny(), 2, &mut std::fs::File::create(&path).unwrap()).unwrap();
    let model = DeviceModel { adapters: vec![("tone".into(), path)], ..real.model("m", &tiny()) };
    real.pool.set_models(vec![model, real.model("e", &embedding)]).await;

    let gap = Completion {
        prompts: vec![PromptText::Text("a".into())],
        suffix: Some("c".into()),
        sampling: greedy(4),
        ..Completion::default()
    };
    assert_eq!(real.ask("m", Task::Completion(gap)).await.unwrap().usage.unwrap().output_tokens, 4);

    let plain = real.ask("m", completion("hello", 12)).await.unwrap();
    let sampling = Sampling { adapters: vec![("tone".into(), 4.0)], ..greedy(12) };
    let adapted =
        Completion { prompts: vec![PromptText::Text("hello".into())], sampling, ..Completion::default() };
    assert_ne!(real.ask("m", Task::Completion(adapted)).await.unwrap().text, plain.text);

    let (target, backend, _) = real.registered("m");
    let count = backend.count_tokens(call(Arc::clone(&target), completion("hello", 1))).await.unwrap();
    assert_eq!(count, plain.usage.unwrap().prompt_tokens);

    let error = real.ask("m", complete(&"long ".repeat(2000))).await.unwrap_err();
    assert!(
        matches!(error.kind, BackendErrorKind::ContextExceeded { prompt: 1000.., window: 512 }),
        "{error:?}"
    );

    let (target, _, embedder) = real.registered("e");
    let inputs = vec![PromptText::Text("a".into()), PromptText::Text("b".into())];
    let task = Task::Embedding(Embedding { inputs, dimensions: Some(8) });
    let (vectors, usage) = embedder.unwrap().embed(call(target, task)).await.unwrap();
    assert_eq!((vectors.len(), vectors[0].len()), (2, 8));
    assert!((vectors[0].iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-3 && usage.prompt_tokens >= 2);
    real.pool.shutdown().await;
}

#[tokio::test]
async fn a_file_that_only_looks_right_is_an_error() {
    let real = Real::new(|_| {});
    // Well formed as GGUF, but its tensors make no model.
    let gguf = crate::parent_support::Gguf::chat();
    let path = real.dir.path().join("bad.gguf");
    std::fs::write(&path, gguf.bytes()).unwrap();
    let overrides = Overrides { context: Some(128), ..Overrides::default() };
    real.pool.set_models(vec![DeviceModel { overrides, ..device_model("bad", path) }]).await;
    for _ in 0..2 {
        let error = real.ask("bad", complete("x")).await.unwrap_err();
        assert_eq!(error.kind, BackendErrorKind::ModelUnusable, "{error}");
    }
    real.pool.shutdown().await;
}

#[tokio::test]
async fn answers_of_several_clients_do_not_mix() {
    let real = Real::new(|_| {});
    real.pool.set_models(vec![real.model("m", &tiny())]).await;
    let alone = real.ask("m", completion("first prompt", 20)).await.unwrap().text;
    let other = real.ask("m", completion("quite another", 20)).await.unwrap().text;
    let asked = (0..8)
        .map(|n| real.ask("m", completion(if n % 2 == 0 { "first prompt" } else { "quite another" }, 20)));
    for (n, said) in futures_util::future::join_all(asked).await.into_iter().enumerate() {
        let said = said.unwrap();
        assert_eq!(said.text, if n % 2 == 0 { alone.as_str() } else { other.as_str() });
        assert!(
            said.events.iter().any(|event| matches!(event, Event::Delta { delta: Delta::Text { .. }, .. }))
        );
    }
    real.pool.shutdown().await;
}
