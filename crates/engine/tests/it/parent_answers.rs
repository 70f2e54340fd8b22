//! Requests on their way to the child and its frames on their way back, over engines that are tasks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use inshore_domain::request::{
    Chat, Completion, Embedding, Json, Message, OutputFormat, Part, PromptText, Role, Sampling, Tool,
    ToolCall, ToolChoice,
};
use inshore_domain::{BackendErrorKind, Capability, Delta, Event, FinishReason, Task};
use inshore_engine::frames::{Constraint, Finish, FromChild, Loaded, Prompt, ToChild, Token, WorkError};
use inshore_engine::pool::DeviceModel;

use crate::parent_support::{Bench, CHATML, Gguf, bench, call, chat, complete, run};

#[tokio::test]
async fn errors_of_work_keep_their_kind() {
    let mut bench = bench(&["m"]).await;
    let (target, backend) = bench.backend("m");
    let first = bench.ask("m", chat("Hi"));
    let mut engine = bench.engine().await;
    engine.loads().await;
    let work = engine.generate().await;
    engine.say(&FromChild::Failed {
        id: work.id,
        error: WorkError::PromptTooLong { prompt: 5000, context: 4096 },
    });
    let error = first.await.unwrap().unwrap_err();
    assert_eq!(error.kind, BackendErrorKind::ContextExceeded { prompt: 5000, window: 4096 });
    assert_eq!(error.message, "the prompt has 5000 tokens and the context window of `m` holds 4096");
    for (failure, kind) in [
        (
            WorkError::BadParameter { field: "stop".into(), message: "too long".into() },
            BackendErrorKind::InvalidRequest { field: Some("stop".into()) },
        ),
        (
            WorkError::BadConstraint { message: "x".into() },
            BackendErrorKind::InvalidRequest { field: Some("response_format".into()) },
        ),
        (WorkError::Unsupported { message: "x".into() }, BackendErrorKind::Unsupported),
        (WorkError::Internal { message: "x".into() }, BackendErrorKind::Failed),
    ] {
        let (target, backend) = (Arc::clone(&target), Arc::clone(&backend));
        let asked = tokio_util::task::TaskTracker::new()
            .spawn(async move { run(backend.as_ref(), target, chat("Hi")).await });
        let work = engine.generate().await;
        engine.say(&FromChild::Failed { id: work.id, error: failure });
        assert_eq!(asked.await.unwrap().unwrap_err().kind, kind);
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_name_without_loading() {
    let bench = bench(&["m"]).await;
    let chat_with = |change: fn(&mut Chat)| {
        let mut chat = Chat { messages: vec![Message::text(Role::User, "Hi")], ..Chat::default() };
        change(&mut chat);
        Task::Chat(chat)
    };
    let complete_with = |change: fn(&mut Completion)| {
        let mut completion =
            Completion { prompts: vec![PromptText::Text("Hi".into())], ..Completion::default() };
        change(&mut completion);
        Task::Completion(completion)
    };
    for (task, part) in [
        (chat_with(|chat| chat.messages.clear()), "there are no messages"),
        (
            chat_with(|chat| chat.messages[0].content.push(Part::Image { url: "data:".into() })),
            "cannot look at images",
        ),
        (chat_with(|chat| chat.tool_choice = ToolChoice::Function("f".into())), "there is no tool `f`"),
        (chat_with(|chat| chat.tool_choice = ToolChoice::Required), "there are no tools"),
        (chat_with(|chat| chat.sampling.temperature = Some(-1.0)), "`temperature` is -1"),
        (chat_with(|chat| chat.sampling.top_p = Some(f32::NAN)), "`top_p` is NaN"),
        (chat_with(|chat| chat.sampling.adapters = vec![("x".into(), 1.0)]), "has no adapter `x`"),
        (chat_with(|chat| chat.sampling.n = 1000), "1000 answers are asked for"),
        (
            chat_with(|chat| chat.sampling.logit_bias = vec![(99, 1.0)]),
            "token 99 is not in the vocabulary of 8",
        ),
        (chat_with(|chat| chat.sampling.stop = vec![String::new()]), "stop text 0 is empty"),
        (complete_with(|completion| completion.prompts.clear()), "there is no prompt"),
        (
            complete_with(|completion| completion.prompts = vec![PromptText::Tokens(vec![1, 8])]),
            "token 8 is not in the vocabulary",
        ),
        (
            complete_with(|completion| {
                completion.echo = true;
                completion.sampling.logprobs = Some(1)
            }),
            "`echo` together with `logprobs`",
        ),
        (
            Task::Embedding(Embedding { inputs: vec![PromptText::Text("x".into())], dimensions: None }),
            "embeddings",
        ),
    ] {
        let error = bench.ask("m", task).await.unwrap().unwrap_err();
        assert!(error.message.contains(part), "{error}, expected {part}");
        assert!(!error.kind.counts_against_health(), "{error}");
    }
    assert_eq!(bench.launcher.started.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn several_prompts_answers_and_an_echo_are_numbered() {
    let mut bench = bench(&["m"]).await;
    let prompts = vec![PromptText::Text("A".into()), PromptText::Text("B".into())];
    let sampling = Sampling { n: 2, seed: Some(100), ..Sampling::default() };
    let asked = bench
        .ask("m", Task::Completion(Completion { prompts, sampling, echo: true, ..Completion::default() }));
    let mut engine = bench.engine().await;
    engine.loads().await;
    let (first, second) = (engine.generate().await, engine.generate().await);
    assert_eq!((first.sampling.seed, second.sampling.seed, first.answers), (100, 102, 2));
    for (work, letter) in [(&second, "b"), (&first, "a")] {
        engine.started(work.id);
        for answer in [1, 0] {
            engine.say(&FromChild::Text {
                id: work.id,
                answer,
                text: format!("{letter}{answer}"),
                tokens: Vec::new(),
            });
            engine.say(&FromChild::Finished {
                id: work.id,
                answer,
                reason: Finish::MaxTokens,
                output_tokens: 2,
            });
        }
    }
    let said = asked.await.unwrap().unwrap();
    let mut texts = [const { String::new() }; 4];
    for event in &said.events {
        if let Event::Delta { index, delta: Delta::Text { text, .. } } = event {
            texts[*index as usize].push_str(text);
        }
    }
    assert_eq!(texts, ["Aa0", "Aa1", "Bb0", "Bb1"]);
    assert_eq!(said.finished, [FinishReason::Length; 4]);
    let usage = said.usage.unwrap();
    assert_eq!((usage.prompt_tokens, usage.output_tokens), (20, 8));
}

#[tokio::test]
async fn a_suffix_fills_a_gap() {
    let mut bench = bench(&["m"]).await;
    let completion = Completion {
        prompts: vec![PromptText::Text("a".into())],
        suffix: Some("c".into()),
        ..Completion::default()
    };
    let asked = bench.ask("m", Task::Completion(completion));
    let mut engine = bench.engine().await;
    engine.loads().await;
    let work = engine.generate().await;
    assert_eq!(work.prompt, Prompt::Infill { prefix: "a".into(), suffix: "c".into() });
    engine.started(work.id);
    engine.finish(work.id);
    assert_eq!(asked.await.unwrap().unwrap().error, None);
}

fn weather() -> Tool {
    Tool {
        name: "weather".into(),
        description: None,
        parameters: Some(Json(r#"{"type":"object"}"#.into())),
        strict: false,
    }
}

#[tokio::test]
async fn calls_become_events_and_later_calls_are_dropped_when_one_was_wanted() {
    let mut bench = bench(&["m"]).await;
    let messages = vec![Message::text(Role::User, "Weather?")];
    let chat = Chat {
        messages,
        tools: vec![weather()],
        parallel_tool_calls: Some(false),
        tool_choice: ToolChoice::Required,
        ..Chat::default()
    };
    let asked = bench.ask("m", Task::Chat(chat));
    let mut engine = bench.engine().await;
    engine.loads().await;
    let work = engine.generate().await;
    assert!(
        matches!(&work.constraint, Some(Constraint::Lark(grammar)) if grammar.contains("\"<tool_call>\"")),
        "{:?}",
        work.constraint
    );
    engine.started(work.id);
    for piece in [
        "I look.\n<tool",
        "_call>{\"name\":\"weather\",\"argum",
        "ents\":{\"city\":\"Paris\"}}</tool_call>",
        "<tool_call>{\"name\":\"weather\",\"arguments\":{}}</tool_call>",
    ] {
        engine.text(work.id, piece);
    }
    engine.finish(work.id);
    let said = asked.await.unwrap().unwrap();
    assert_eq!(said.text, "I look.");
    assert_eq!(said.calls, [("weather".to_owned(), r#"{"city":"Paris"}"#.to_owned())]);
    assert_eq!(said.finished, [FinishReason::ToolCalls]);
    let id = said.events.iter().find_map(|event| match event {
        Event::Delta { delta: Delta::ToolCall { id, .. }, .. } => Some(id.clone()),
        _ => None,
    });
    assert!(id.is_some_and(|id| id.starts_with("call_") && id.len() == 29));
}

#[tokio::test]
async fn forms_of_answers_reach_the_child() {
    let mut bench = bench(&["m"]).await;
    let engine_tasks = tokio_util::task::TaskTracker::new();
    let mut engine: Option<crate::parent_support::Engine> = None;
    for (output, expected) in [
        (OutputFormat::JsonObject, Constraint::JsonSchema("{\"type\":\"object\"}".into())),
        (
            OutputFormat::JsonSchema { name: "n".into(), schema: Json("{}".into()) },
            Constraint::JsonSchema("{}".into()),
        ),
        (OutputFormat::Grammar("root ::= \"a\"".into()), Constraint::Gbnf("root ::= \"a\"".into())),
        (OutputFormat::Regex("a+".into()), Constraint::Regex("a+".into())),
    ] {
        let messages = vec![Message::text(Role::User, "x")];
        let asked = bench.ask("m", Task::Chat(Chat { messages, output, ..Chat::default() }));
        if engine.is_none() {
            let mut started = bench.engine().await;
            started.loads().await;
            engine = Some(started);
        }
        let engine = engine.as_mut().unwrap();
        let work = engine.generate().await;
        assert_eq!(work.constraint, Some(expected));
        engine.started(work.id);
        engine.finish(work.id);
        assert_eq!(asked.await.unwrap().unwrap().error, None);
    }
    engine_tasks.close();
}

#[tokio::test]
async fn logprobs_travel_with_the_text() {
    let mut bench = bench(&["m"]).await;
    let completion = Completion {
        prompts: vec![PromptText::Text("x".into())],
        sampling: Sampling { logprobs: Some(1), ..Sampling::default() },
        ..Completion::default()
    };
    let asked = bench.ask("m", Task::Completion(completion));
    let mut engine = bench.engine().await;
    engine.loads().await;
    let work = engine.generate().await;
    engine.started(work.id);
    let token = Token { id: 5, bytes: b"a".to_vec(), logprob: -0.5, top: vec![(6, b"b".to_vec(), -1.0)] };
    engine.say(&FromChild::Text { id: work.id, answer: 0, text: "a".into(), tokens: vec![token] });
    engine.finish(work.id);
    let said = asked.await.unwrap().unwrap();
    let found = said.events.iter().find_map(|event| match event {
        Event::Delta { delta: Delta::Text { logprobs, .. }, .. } => logprobs.first(),
        _ => None,
    });
    let found = found.unwrap();
    assert_eq!((found.id, found.logprob, found.top.len()), (Some(5), -0.5, 1));
}

#[tokio::test]
async fn thoughts_are_apart_from_the_answer() {
    let mut bench = Bench::new(|_| {});
    let source = format!("{CHATML}{{{{ '<think>\\n' }}}}");
    let model = DeviceModel { template: Some(source), ..bench.model("m") };
    bench.pool.set_models(vec![model]).await;
    let asked = bench.ask("m", chat("x"));
    let mut engine = bench.engine().await;
    engine.loads().await;
    let work = engine.generate().await;
    engine.started(work.id);
    for piece in ["hm", ", so", "</thi", "nk>\n\nyes"] {
        engine.text(work.id, piece);
    }
    engine.finish(work.id);
    let said = asked.await.unwrap().unwrap();
    assert_eq!((said.reasoning.as_str(), said.text.as_str()), ("hm, so", "yes"));
    assert!(said.usage.unwrap().reasoning_tokens > 0);
}

#[tokio::test]
async fn embeddings_are_shortened_and_tokens_counted() {
    let mut bench = Bench::new(|_| {});
    let gguf = Gguf::chat().u32("llama.pooling_type", 1);
    bench.pool.set_models(vec![bench.model_of("e", &gguf), bench.model("m")]).await;
    let (target, embedder) = bench.embedder("e");
    assert!(target.capabilities.has(Capability::Embeddings) && !target.capabilities.has(Capability::Chat));
    let embedding = |dimensions| {
        Task::Embedding(Embedding {
            inputs: vec![PromptText::Text("a".into()), PromptText::Text("b".into())],
            dimensions,
        })
    };
    let asked = {
        let (call, embedder) = (call(Arc::clone(&target), embedding(Some(1))), Arc::clone(&embedder));
        tokio_util::task::TaskTracker::new().spawn(async move { embedder.embed(call).await })
    };
    let engine = bench.engine().await;
    tokio_util::task::TaskTracker::new().spawn(engine.serve(""));
    let (vectors, usage) = asked.await.unwrap().unwrap();
    assert_eq!((vectors, usage.prompt_tokens), (vec![vec![1.0], vec![1.0]], 5));
    let error = embedder.embed(call(target, embedding(Some(4)))).await.unwrap_err();
    assert_eq!(error.message, "`dimensions` is 4, expected 1 to 3");

    let (target, backend) = bench.backend("m");
    let counted = tokio_util::task::TaskTracker::new()
        .spawn(async move { backend.count_tokens(call(target, chat("Hi"))).await });
    tokio_util::task::TaskTracker::new().spawn(bench.engine().await.serve(""));
    assert_eq!(counted.await.unwrap().unwrap(), 3);
}

#[tokio::test]
async fn vectors_that_do_not_fit_into_one_frame_are_asked_for_in_several() {
    let mut bench = Bench::new(|_| {});
    bench.pool.set_models(vec![bench.model_of("e", &Gguf::chat().u32("llama.pooling_type", 1))]).await;
    let (target, embedder) = bench.embedder("e");
    let inputs = (0..5).map(|n| PromptText::Text(n.to_string())).collect();
    let task = Task::Embedding(Embedding { inputs, dimensions: Some(1) });
    let asked =
        tokio_util::task::TaskTracker::new().spawn(async move { embedder.embed(call(target, task)).await });
    let mut engine = bench.engine().await;
    engine.load().await;
    // Two of these make half a frame.
    engine.say(&FromChild::Loaded(Loaded { embedding_width: 4 << 20, ..Loaded::default() }));
    for texts in [&["0", "1"][..], &["2", "3"], &["4"]] {
        let ToChild::Embed(embed) = engine.next().await else { panic!("not an embedding") };
        let expected: Vec<Prompt> = texts.iter().map(|text| Prompt::Text((*text).into())).collect();
        assert_eq!(embed.inputs, expected);
        let vectors = texts.iter().map(|text| vec![text.parse::<f32>().unwrap() + 1.0, 0.0]).collect();
        engine.say(&FromChild::Embedded { id: embed.id, vectors, tokens: 3 });
    }
    let (vectors, usage) = asked.await.unwrap().unwrap();
    assert_eq!((vectors.len(), usage.prompt_tokens), (5, 9));
}

#[tokio::test]
async fn tool_calls_of_the_past_are_shown_to_the_template() {
    let mut bench = bench(&["m"]).await;
    let mut called = Message::text(Role::Assistant, "");
    called.tool_calls = vec![ToolCall { id: "1".into(), name: "weather".into(), arguments: "{}".into() }];
    let messages = vec![Message::text(Role::User, "x"), called, Message::text(Role::Tool, "sunny")];
    let asked = bench.ask("m", Task::Chat(Chat { messages, ..Chat::default() }));
    tokio_util::task::TaskTracker::new().spawn(bench.engine().await.serve("ok"));
    assert_eq!(asked.await.unwrap().unwrap().text, "ok");
    assert_eq!(bench.ask("m", complete("x")).await.unwrap().unwrap().text, "ok");
}
