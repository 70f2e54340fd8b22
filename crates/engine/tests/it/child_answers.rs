//! What the child answers: the same whatever else it is doing, and in the form that was asked for.

use inshore_engine::frames::{
    Constraint, Embed, Finish, FromChild, Generate, Prompt, Sampling, ToChild, WorkError,
};

use crate::child_support::{Engine, generate, greedy, load};
use inshore_engine::synth::Shape;

/// Text of so many tokens: the vocabulary has every two letters, so a letter and a space are a token at least.
fn long(words: usize) -> String {
    (0..words).map(|word| format!("{}{} ", char::from(b'a' + (word % 26) as u8), word % 7)).collect()
}

#[test]
fn several_at_once_answer_as_one_alone() {
    let mut engine = Engine::start(load());
    let prompts = ["The quick brown fox", "Dear Sir", &long(90), "x"];
    let alone: Vec<String> = (0..)
        .zip(prompts)
        .map(|(id, prompt)| Engine::start(load()).run(generate(id, prompt, 40)).text().to_owned())
        .collect();
    for (id, prompt) in (10..).zip(prompts) {
        engine.send(&ToChild::Generate(Box::new(generate(id, prompt, 40))));
    }
    let together: Vec<String> = (10..14).map(|id| engine.follow(id, 1).text().to_owned()).collect();
    assert_eq!(together, alone);
    assert!(alone.iter().all(|text| !text.is_empty()));
    assert_ne!(alone[0], alone[1]);
}

#[test]
fn a_shared_prefix_changes_the_count_and_not_the_answer() {
    let prompt = long(100);
    let cold = Engine::start(load()).run(generate(1, &format!("{prompt}tail"), 20));
    let mut engine = Engine::start(load());
    engine.run(generate(1, &prompt, 5));
    let warm = engine.run(generate(2, &format!("{prompt}tail"), 20));
    assert_eq!(cold.cached_tokens, 0);
    assert!(warm.cached_tokens > 100, "{}", warm.cached_tokens);
    assert_eq!((warm.text(), warm.prompt_tokens), (cold.text(), cold.prompt_tokens));
    // The very same prompt computes one token, for its logits.
    let again = engine.run(generate(3, &format!("{prompt}tail"), 20));
    assert_eq!((again.text(), again.cached_tokens), (cold.text(), cold.prompt_tokens - 1));
    // Another scope knows nothing of it.
    let other = engine.run(Generate { scope: 1, ..generate(4, &format!("{prompt}tail"), 20) });
    assert_eq!((other.text(), other.cached_tokens), (cold.text(), 0));
}

#[test]
fn the_next_keystroke_computes_its_own_tokens_only() {
    let mut engine = Engine::start(load());
    let text = long(150);
    engine.run(generate(1, &text, 8));
    let before = engine.stats();
    let next = engine.run(generate(2, &format!("{text}z"), 8));
    let computed = engine.stats().prompt_computed - before.prompt_computed;
    assert!(computed <= 4, "{computed} of {} tokens were computed", next.prompt_tokens);
}

#[test]
fn several_answers_share_the_prompt() {
    let mut engine = Engine::start(load());
    let sampling = Sampling { temperature: 1.0, ..greedy() };
    // More answers than can be live at once.
    let request = Generate { answers: 6, sampling: sampling.clone(), ..generate(1, &long(60), 12) };
    let outcome = engine.run(request.clone());
    assert_eq!(outcome.error, None);
    assert!(
        outcome.answers.iter().all(|answer| answer.made == 12 && answer.finish == Some(Finish::MaxTokens))
    );
    let different: std::collections::HashSet<&str> =
        outcome.answers.iter().map(|answer| answer.text.as_str()).collect();
    assert!(different.len() > 3, "{different:?}");
    assert!(engine.stats().prompt_computed < u64::from(outcome.prompt_tokens) + 10);
    // Answer 2 is what a single answer with the seed after the next gives.
    let single = engine.run(Generate {
        answers: 1,
        sampling: Sampling { seed: 3, ..sampling },
        ..generate(2, &long(60), 12)
    });
    assert_eq!(single.text(), outcome.answers[2].text);
}

#[test]
fn seeds_repeat() {
    let mut engine = Engine::start(load());
    let with = |id, seed| Generate {
        sampling: Sampling { temperature: 1.0, seed, ..greedy() },
        ..generate(id, "Once", 30)
    };
    let first = engine.run(with(1, 5)).text().to_owned();
    assert_eq!(engine.run(with(2, 5)).text(), first);
    assert_ne!(engine.run(with(3, 6)).text(), first);
}

#[test]
fn a_stop_text_ends_the_answer_before_it() {
    let mut engine = Engine::start(load());
    let free = engine.run(generate(1, "Stop here", 40)).text().to_owned();
    // A piece from the middle, longer than any token, begins and ends within tokens.
    let middle: String = free.chars().skip(9).take(7).collect();
    let first = free.find(&middle).unwrap();
    let outcome =
        engine.run(Generate { stop: vec!["never in it".into(), middle], ..generate(2, "Stop here", 40) });
    assert_eq!(outcome.text(), &free[..first]);
    assert_eq!(outcome.answers[0].finish, Some(Finish::StopText(1)));
}

#[test]
fn logprobs_are_those_of_the_tokens() {
    let mut engine = Engine::start(load());
    let outcome = engine.run(Generate { logprobs: Some(5), ..generate(1, "Count", 10) });
    let answer = &outcome.answers[0];
    assert_eq!(answer.tokens.len(), 10);
    for token in &answer.tokens {
        assert_eq!(token.top.len(), 5);
        // Greedy: the drawn token is the likeliest.
        assert_eq!((token.top[0].0, token.top[0].2), (token.id, token.logprob));
        assert!(token.top.windows(2).all(|pair| pair[0].2 >= pair[1].2));
        let sum: f32 = token.top.iter().map(|(_, _, logprob)| logprob.exp()).sum();
        assert!(sum > 0.0 && sum <= 1.0001, "{sum}");
    }
    let bytes: Vec<u8> = answer.tokens.iter().flat_map(|token| token.bytes.clone()).collect();
    assert_eq!(String::from_utf8_lossy(&bytes), answer.text);
}

#[test]
fn constrained_answers_have_their_form() {
    let mut engine = Engine::start(load());
    let schema = r#"{"type":"object","properties":{"name":{"type":"string","maxLength":12},"age":{"type":"integer","minimum":0,"maximum":150},"tags":{"type":"array","items":{"enum":["a","b"]},"maxItems":3}},"required":["name","age","tags"],"additionalProperties":false}"#;
    for id in 1..8 {
        let outcome = engine.constrained(id, Constraint::JsonSchema(schema.into()), 300);
        let json: serde_json::Value = serde_json::from_str(outcome.text()).unwrap();
        assert!(
            json["name"].is_string() && json["age"].as_u64().unwrap() <= 150 && json["tags"].is_array(),
            "{json}"
        );
        assert_eq!(outcome.answers[0].finish, Some(Finish::Stop));
    }
    let answer = engine.constrained(20, Constraint::Regex("[0-9]{4}-[0-9]{2}".into()), 50);
    assert!(answer.text().len() == 7 && answer.text().as_bytes()[4] == b'-', "{}", answer.text());
    let answer = engine.constrained(21, Constraint::Gbnf("root ::= (\"yes\" | \"no\") \"!\"".into()), 50);
    assert!(["yes!", "no!"].contains(&answer.text()), "{}", answer.text());
    let answer = engine.constrained(22, Constraint::Lark("start: \"[\" /[0-9]+/ \"]\"".into()), 500);
    assert!(answer.text().starts_with('['), "{}", answer.text());
}

#[test]
fn what_cannot_be_satisfied_is_an_error() {
    let mut engine = Engine::start(load());
    let bad = [
        Constraint::JsonSchema(r#"{"type":"integer","minimum":5,"maximum":4}"#.into()),
        Constraint::JsonSchema("not json".into()),
        Constraint::Gbnf("root ::= root".into()),
        Constraint::Gbnf("root ::= missing".into()),
        Constraint::Lark("start: A\nA: /[/".into()),
        // Nested deeper than any stack, each in its own way.
        Constraint::Gbnf(format!("root ::= \"a\"{}", "?".repeat(100_000))),
        Constraint::Gbnf(format!("root ::= {}", "(".repeat(100_000))),
        Constraint::Gbnf(format!("root ::= {}\"a\"{}", "(".repeat(90), ")?".repeat(90))),
        Constraint::Regex("(".repeat(100_000)),
        Constraint::Regex(format!("a{}", "?".repeat(100_000))),
        Constraint::Regex(format!("{}a{}", "(".repeat(100_000), ")".repeat(100_000))),
        Constraint::JsonSchema(format!("{}1{}", "{\"items\":".repeat(100_000), "}".repeat(100_000))),
    ];
    for (id, constraint) in (1..).zip(bad) {
        let outcome = engine.constrained(id, constraint.clone(), 20);
        assert!(
            matches!(outcome.error, Some(WorkError::BadConstraint { .. })),
            "{constraint:?}: {outcome:?}"
        );
    }
    assert!(!engine.run(generate(99, "still alive", 3)).text().is_empty());
}

#[test]
fn a_bias_can_forbid_and_force() {
    let mut engine = Engine::start(load());
    let free = engine.run(Generate { logprobs: Some(0), ..generate(1, "Bias", 1) });
    let likeliest = free.answers[0].tokens[0].id;
    let forbid = Sampling { logit_bias: vec![(likeliest, -100.0)], ..greedy() };
    let other = engine.run(Generate { sampling: forbid, logprobs: Some(0), ..generate(2, "Bias", 1) });
    assert_ne!(other.answers[0].tokens[0].id, likeliest);
    let force = Sampling { logit_bias: vec![(400, 100.0)], ..greedy() };
    let forced = engine.run(Generate { sampling: force, logprobs: Some(0), ..generate(3, "Bias", 1) });
    assert_eq!(forced.answers[0].tokens[0].id, 400);
}

#[test]
fn adapters_change_the_answer_of_their_request_only() {
    let mut engine = Engine::with(
        &Shape::tiny(),
        inshore_engine::frames::Load { adapters: vec!["a".into(), "b".into()], ..load() },
    )
    .0;
    let with =
        |id, adapters: &[(u32, f32)]| Generate { adapters: adapters.to_vec(), ..generate(id, &long(30), 24) };
    let plain = engine.run(with(1, &[])).text().to_owned();
    let first = engine.run(with(2, &[(0, 1.0)])).text().to_owned();
    let second = engine.run(with(3, &[(1, 1.0)]));
    assert_ne!(plain, first);
    assert_ne!(first, second.text());
    assert_eq!(second.cached_tokens, 0, "state is not shared between adapters");
    for (id, adapters) in [(4, vec![]), (5, vec![(0, 1.0)]), (6, vec![(1, 1.0)])] {
        engine.send(&ToChild::Generate(Box::new(with(id, &adapters))));
    }
    let together: Vec<String> = (4..7).map(|id| engine.follow(id, 1).text().to_owned()).collect();
    assert_eq!(together, [plain, first, second.text().to_owned()]);
    let unknown = engine.run(with(7, &[(2, 1.0)]));
    assert!(matches!(unknown.error, Some(WorkError::BadParameter { .. })));
}

#[test]
fn vectors_are_normalised_and_do_not_depend_on_their_neighbours() {
    let shape = Shape { pooling: Some(1), ..Shape::tiny() };
    let (mut engine, loaded) =
        Engine::with(&shape, inshore_engine::frames::Load { embeddings: true, ..load() });
    let mut embed = |id, texts: &[&str]| {
        let inputs = texts.iter().map(|text| Prompt::Text((*text).to_owned())).collect();
        engine.send(&ToChild::Embed(Embed { id, inputs }));
        match engine.wait_for(|frame| matches!(frame, FromChild::Embedded { .. } | FromChild::Failed { .. }))
        {
            FromChild::Embedded { vectors, tokens, .. } => (vectors, tokens),
            other => panic!("{other:?}"),
        }
    };
    let (together, tokens) = embed(1, &["alpha beta", "gamma", "alpha beta"]);
    assert!(tokens > 3);
    for vector in &together {
        assert_eq!(vector.len(), loaded.embedding_width as usize);
        let length: f32 = vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-4, "{length}");
    }
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    assert!(close(&together[0], &together[2]) > 0.9999);
    assert!(close(&together[0], &together[1]) < 0.999);
    let (alone, _) = embed(2, &["gamma"]);
    assert!(close(&alone[0], &together[1]) > 0.9999);
}

#[test]
fn a_gap_is_filled_only_by_models_that_can() {
    let gap = Prompt::Infill { prefix: "fn main".into(), suffix: "}".into() };
    let outcome = Engine::start(load()).run(Generate { prompt: gap.clone(), ..generate(1, "", 5) });
    assert_eq!(outcome.answers[0].made, 5);
    let (mut engine, loaded) = Engine::with(&Shape { infill: false, ..Shape::tiny() }, load());
    // llama.cpp also finds these marks by their text.
    let outcome = engine.run(Generate { prompt: gap, ..generate(1, "", 5) });
    assert_eq!(outcome.error.is_none(), loaded.infill);
}
