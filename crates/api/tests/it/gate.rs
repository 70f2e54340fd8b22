//! Who is let in: tokens, hosts, origins.

use std::sync::atomic::Ordering;

use inshore_api::{ApiOptions, AppToken};
use inshore_domain::FinishReason;
use insta::assert_snapshot;

use crate::scripted::{Script, finished, text};
use crate::server::{Running, TOKEN, options, settings, start, start_with};

const CHAT: &str = r#"{"model":"tiny","messages":[{"role":"user","content":"Hi"}]}"#;

fn greeting() -> Script {
    Box::new(|_| Ok(vec![text(0, "Hello."), finished(FinishReason::Stop)]))
}

async fn status(server: &Running, headers: &[(&str, &str)]) -> u16 {
    server.send("POST", "/v1/chat/completions", headers, CHAT.as_bytes()).await.status
}

#[tokio::test]
async fn a_token_is_needed_and_each_api_says_so_in_its_words() {
    let server = start(greeting()).await;
    let wrong = [("authorization", "Bearer wrong")];
    let mut shown = String::new();
    for path in ["/v1/chat/completions", "/v1/messages", "/inshore/v1/status"] {
        let reply = server.send("POST", path, &wrong, CHAT.as_bytes()).await;
        assert_eq!((reply.status, reply.header("www-authenticate")), (401, Some("Bearer")));
        shown.push_str(&format!(
            "{path} {}\n{}\n",
            reply.header("content-type").unwrap_or_default(),
            reply.body
        ));
    }
    settings().bind(|| assert_snapshot!("unauthorised", shown));
    for headers in [[("authorization", "")], [("authorization", "Basic c2VjcmV0")], [("x-api-key", "secre")]]
    {
        assert_eq!(status(&server, &headers).await, 401, "{headers:?}");
    }
    for headers in [[("x-api-key", TOKEN)], [("authorization", "bearer secret")]] {
        assert_eq!(status(&server, &headers).await, 200, "{headers:?}");
    }
    assert!(server.backend.seen.lock().unwrap().len() == 2, "refused requests reach no target");
    server.stop().await;
}

#[tokio::test]
async fn tokens_can_be_replaced_while_the_server_runs() {
    let options = options();
    let tokens = options.tokens.clone();
    let server = start_with(greeting(), options).await;
    tokens.replace(vec![AppToken::new("mail", "fresh")]);
    assert_eq!(status(&server, &[]).await, 401);
    assert_eq!(status(&server, &[("authorization", "Bearer fresh")]).await, 200);
    assert_eq!(server.backend.last().principal.app, "mail");
    server.stop().await;
}

#[tokio::test]
async fn only_our_own_host_names_are_answered() {
    let options = ApiOptions { allowed_hosts: vec!["box.lan".to_owned()], ..options() };
    let server = start_with(greeting(), options).await;
    for host in [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:9",
        "box.lan",
        "box.lan:80",
    ] {
        assert_eq!(status(&server, &[("host", host)]).await, 200, "{host}");
    }
    // What a page sends whose name was rebound to 127.0.0.1, and what tries to look like ours.
    for host in [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "[::1].evil",
        "box.lan.evil",
        "127.0.0.2",
        "",
    ] {
        assert_eq!(status(&server, &[("host", host)]).await, 421, "{host}");
    }
    for path in ["/healthz", "/v1/messages", "/inshore/v1/status"] {
        let reply = server.send("GET", path, &[("host", "evil.example")], b"").await;
        assert_eq!(reply.status, 421, "{path}");
        assert!(reply.body.contains("evil.example"), "{}", reply.body);
    }
    let none = server.raw(b"GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert_eq!(none.status, 400);
    let two = server
        .raw(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\nconnection: close\r\n\r\n")
        .await;
    assert_eq!(two.status, 400);
    let absolute =
        b"GET http://evil.example/healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(server.raw(absolute).await.status, 421);
    server.stop().await;
}

#[tokio::test]
async fn pages_are_refused_and_no_cors_header_is_sent() {
    let server = start(greeting()).await;
    for origin in ["https://evil.example", "null", "http://localhost:3000", "http://127.0.0.1"] {
        let reply = server.send("POST", "/v1/chat/completions", &[("origin", origin)], CHAT.as_bytes()).await;
        assert_eq!(reply.status, 403, "{origin}");
        assert!(
            !reply.headers.iter().any(|(name, _)| name.starts_with("access-control")),
            "{:?}",
            reply.headers
        );
    }
    let preflight = [("origin", "https://evil.example"), ("access-control-request-method", "POST")];
    assert_eq!(server.send("OPTIONS", "/v1/chat/completions", &preflight, b"").await.status, 403);
    let plain = server.send("POST", "/v1/chat/completions", &[], CHAT.as_bytes()).await;
    assert_eq!(plain.status, 200);
    assert!(!plain.headers.iter().any(|(name, _)| name.starts_with("access-control")));
    server.stop().await;
}

#[tokio::test]
async fn configured_origins_are_let_in_exactly() {
    let options = ApiOptions { cors_origins: vec!["https://app.example".to_owned()], ..options() };
    let server = start_with(greeting(), options).await;
    let ours = ("origin", "https://app.example");
    let preflight = [ours, ("access-control-request-method", "POST"), ("authorization", "none")];
    let reply = server.send("OPTIONS", "/v1/chat/completions", &preflight, b"").await;
    assert_eq!(
        (reply.status, reply.header("access-control-allow-origin")),
        (204, Some("https://app.example"))
    );
    let allowed = reply.header("access-control-allow-headers").expect("headers");
    assert!(
        allowed.contains("authorization") && allowed.contains("x-inshore-feature") && !allowed.contains('*')
    );
    let answer = server.send("POST", "/v1/chat/completions", &[ours], CHAT.as_bytes()).await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, Some("https://app.example"))
    );
    assert_eq!(answer.header("vary"), Some("origin"));
    let unauthorised =
        server.send("POST", "/v1/chat/completions", &[ours, ("authorization", "Bearer x")], b"{}").await;
    assert_eq!(
        (unauthorised.status, unauthorised.header("access-control-allow-origin")),
        (401, Some("https://app.example"))
    );
    for other in
        ["https://app.example.evil", "http://app.example", "https://app.example:8443", "https://APP.example"]
    {
        assert_eq!(status(&server, &[("origin", other)]).await, 403, "{other}");
    }
    server.stop().await;
}

#[tokio::test]
async fn health_needs_no_token() {
    let server = start(greeting()).await;
    for path in ["/healthz", "/readyz"] {
        let reply = server.send("GET", path, &[("authorization", "none")], b"").await;
        assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"status":"ok"}"#), "{path}");
    }
    *server.control.ready.lock().unwrap() = Err("no model is registered".to_owned());
    let unready = server.send("GET", "/readyz", &[("authorization", "none")], b"").await;
    assert_eq!(unready.status, 503);
    assert_eq!(unready.body, r#"{"status":"unavailable","reason":"no model is registered"}"#);
    assert_eq!(server.send("GET", "/healthz", &[], b"").await.status, 200);
    assert_eq!(server.send("POST", "/healthz", &[("authorization", "none")], b"").await.status, 401);
    assert_eq!(server.control.shutdowns.load(Ordering::Relaxed), 0);
    server.stop().await;
}
