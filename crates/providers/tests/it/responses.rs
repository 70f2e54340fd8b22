//! The Responses API, handed on where the endpoint knows it, and converted where not.

use inshore_domain::FinishReason;
use inshore_domain::request::{Chat, Dialect, Message, Role, Task};
use inshore_sim::{Tokens, Turn};

use crate::rig::*;

fn chat() -> Task {
    Task::Chat(Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() })
}

#[tokio::test]
async fn an_endpoint_that_knows_the_api_gets_it_unchanged() {
    let tokens = Tokens { prompt: 9, cached: 3, written: 0, output: 2 };
    for stream in [false, true] {
        let body = format!(r#"{{"input":"hi","model":"auto","stream":{stream}}}"#);
        let (server, provider) =
            openai_with(Default::default(), Turn::text("yes sir").with_tokens(tokens), |options| {
                options.responses_api = true;
            })
            .await;
        let made = call(&provider, request(chat(), stream, Some((Dialect::OpenAiResponses, &body))));
        let heard = hear(&provider, made).await.unwrap();
        assert_eq!(server.http().seen()[0].body, body.replace("auto", "sim-large"));
        assert_eq!(server.http().seen()[0].path, "/v1/responses");
        assert_eq!((heard.model.as_str(), heard.text()), ("sim-large", "yes sir"));
        assert_eq!(heard.finished, [(0, FinishReason::Stop)]);
        let usage = heard.usage.unwrap();
        assert_eq!((usage.prompt_tokens, usage.cached_tokens, usage.output_tokens), (9, 3, 2));
        assert_eq!(heard.wire_text().contains("event: response.completed"), stream);

        server.script().otherwise(Turn::call("find", r#"{"q":1}"#));
        let made = call(&provider, request(chat(), stream, Some((Dialect::OpenAiResponses, &body))));
        let heard = hear(&provider, made).await.unwrap();
        assert_eq!(heard.calls, [("call_sim_0".into(), "find".into(), r#"{"q":1}"#.into())]);
        assert_eq!(heard.finished, [(0, FinishReason::ToolCalls)]);
    }
}

#[tokio::test]
async fn another_endpoint_gets_a_chat_completion() {
    let (server, provider) = openai(Turn::text("yes")).await;
    let body = r#"{"input":"hi","model":"auto"}"#;
    let made = call(&provider, request(chat(), false, Some((Dialect::OpenAiResponses, body))));
    let heard = hear(&provider, made).await.unwrap();
    assert_eq!((heard.text(), heard.wire.len()), ("yes", 0));
    assert_eq!(server.http().seen()[0].path, "/v1/chat/completions");
}
