//! Who may speak at all.
//!
//! A daemon on loopback is within reach of every web page the user opens: a page can send requests to `127.0.0.1`, and by
//! DNS rebinding even read the answers, its own host name then resolving to loopback. Against the first stand the token
//! and the Origin check, against the second the Host check: a rebound page's requests carry the page's host name.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use inshore_domain::{RequestId, Timestamp};
use tower::Service;

use crate::fault::{Fault, Shape, json};
use crate::options::ApiOptions;
use crate::server::{Parts, Via};

/// The names that always are this machine.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// How long a browser may remember what it was allowed: an hour, the most that all of them honour being two.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("3600");

/// What handlers work with.
pub(crate) struct App {
    pub(crate) parts: Parts,
    pub(crate) options: ApiOptions,
    /// Bytes of bodies in memory now.
    pub(crate) bodies: AtomicUsize,
    /// When the server started: the `created` of models, which have no better date.
    pub(crate) started: Timestamp,
}

/// A request that has passed the gate.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) id: RequestId,
    pub(crate) at: Timestamp,
    pub(crate) admitted: Instant,
    pub(crate) app: Arc<str>,
    pub(crate) shape: Shape,
}

/// The gate, and the routes behind it.
pub(crate) struct Gate {
    app: Arc<App>,
    router: Router,
}

impl Gate {
    pub(crate) fn new(parts: Parts, options: ApiOptions) -> Self {
        let started = parts.clock.now();
        let app = Arc::new(App { parts, options, bodies: AtomicUsize::new(0), started });
        Self { router: crate::routes::router(app.clone()), app }
    }

    pub(crate) fn options(&self) -> &ApiOptions {
        &self.app.options
    }

    /// Answers one request; every refusal is a response too.
    pub(crate) async fn answer(&self, request: Request<Incoming>, via: Via) -> Response {
        let clock = &self.app.parts.clock;
        let (at, admitted) = (clock.now(), clock.monotonic());
        let id = RequestId::new(at, clock.random());
        let anthropic_client = request.headers().contains_key("anthropic-version");
        let shape = Shape::of(request.uri().path(), anthropic_client);
        let id_text = id.to_string();
        let origin = match self.check_source(&request, via) {
            Ok(origin) => origin,
            Err(fault) => return finished(fault.respond(shape, &id_text), &id_text, shape),
        };
        let mut response = if let Some(origin) = origin.as_ref().filter(|_| is_preflight(&request)) {
            preflight(origin)
        } else if let Some(health) = self.health(&request) {
            health
        } else {
            match self.caller(&request) {
                Ok(app) => {
                    let caller = Caller { id, at, admitted, app, shape };
                    self.route(request, caller).await
                }
                Err(fault) => fault.respond(shape, &id_text),
            }
        };
        if let Some(origin) = origin {
            allow_origin(response.headers_mut(), origin);
        }
        finished(response, &id_text, shape)
    }

    async fn route(&self, mut request: Request<Incoming>, caller: Caller) -> Response {
        request.extensions_mut().insert(caller);
        // A router is always ready, and never fails.
        let Ok(response) = self.router.clone().call(request).await;
        response
    }

    /// Checks Host and Origin. Gives back the origin when there is one, which is then one of those configured.
    fn check_source(&self, request: &Request<Incoming>, via: Via) -> Result<Option<HeaderValue>, Fault> {
        if via == Via::Tcp {
            self.check_host(request)?;
        }
        let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(None) };
        if self.app.options.cors_origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) {
            return Ok(Some(origin.clone()));
        }
        let shown = shown(origin);
        Err(Fault::new(
            StatusCode::FORBIDDEN,
            "origin_not_allowed",
            format!("pages from `{shown}` may not call this server"),
        )
        .hint("add the origin to `server.cors_origins` if you trust it"))
    }

    fn check_host(&self, request: &Request<Incoming>) -> Result<(), Fault> {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let (first, second) = (hosts.next(), hosts.next());
        let (Some(host), None) = (first, second) else {
            let message = "the request must have exactly one `Host` header";
            return Err(Fault::new(StatusCode::BAD_REQUEST, "bad_host_header", message));
        };
        let named = request.uri().authority().map(|authority| authority.as_str().as_bytes());
        let allowed = |host: &[u8]| self.host_allowed(host);
        if allowed(host.as_bytes()) && named.is_none_or(allowed) {
            return Ok(());
        }
        let shown = shown(host);
        let message = format!("this server does not answer to the host name `{shown}`");
        Err(Fault::new(StatusCode::MISDIRECTED_REQUEST, "host_not_allowed", message)
            .hint("use `127.0.0.1` or `localhost`, or add the name to `server.allowed_hosts`"))
    }

    fn host_allowed(&self, host: &[u8]) -> bool {
        let Ok(host) = std::str::from_utf8(host) else { return false };
        let name = without_port(host);
        LOOPBACK.iter().any(|loopback| name.eq_ignore_ascii_case(loopback))
            || self
                .app
                .options
                .allowed_hosts
                .iter()
                .any(|allowed| name.eq_ignore_ascii_case(allowed) || host.eq_ignore_ascii_case(allowed))
    }

    /// The health routes, which need no token: they tell nothing but whether the daemon is there.
    fn health(&self, request: &Request<Incoming>) -> Option<Response> {
        let ready = match request.uri().path() {
            "/healthz" => Ok(()),
            "/readyz" => self.app.parts.control.ready(),
            _ => return None,
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        #[derive(serde::Serialize)]
        struct Health<'a> {
            status: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            reason: Option<&'a str>,
        }
        let (status, body) = match &ready {
            Ok(()) => (StatusCode::OK, Health { status: "ok", reason: None }),
            Err(reason) => {
                (StatusCode::SERVICE_UNAVAILABLE, Health { status: "unavailable", reason: Some(reason) })
            }
        };
        let mut response = Response::new(Body::from(json(&body)));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Some(response)
    }

    /// The app whose token the request presents, as `Authorization: Bearer` (OpenAI clients) or `x-api-key` (Anthropic's).
    fn caller(&self, request: &Request<Incoming>) -> Result<Arc<str>, Fault> {
        let headers = request.headers();
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        let presented = bearer.or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes));
        let Some(presented) = presented else {
            let message = "a token is needed: send `Authorization: Bearer TOKEN` or `x-api-key: TOKEN`";
            return Err(Fault::new(StatusCode::UNAUTHORIZED, "missing_api_key", message)
                .hint("`inshore token` prints the token of this installation"));
        };
        self.app.options.tokens.app_of(presented).ok_or_else(|| {
            Fault::new(
                StatusCode::UNAUTHORIZED,
                "invalid_api_key",
                "the token is not one of this installation's",
            )
            .hint("`inshore token` prints the token of this installation")
        })
    }
}

/// The token of an `Authorization` header; the scheme's case does not matter (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// The name in front of the port; an IPv6 address keeps its brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn shown(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).chars().take(128).collect()
}

fn is_preflight(request: &Request<Incoming>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight(_origin: &HeaderValue) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    // Not `*`, which never covers Authorization (Fetch standard, "CORS-safelisted request-header"). The official
    // clients send a family of `x-stainless-` headers, so what the page asks for is answered with the known list.
    const ALLOWED: &str = "authorization, content-type, x-api-key, anthropic-version, anthropic-beta, \
        anthropic-dangerous-direct-browser-access, openai-organization, openai-project, openai-beta, traceparent, \
        x-inshore-feature, x-inshore-profile, x-inshore-sensitivity, x-inshore-latency-ms, x-inshore-regions, x-inshore-strategy, x-inshore-revisions, \
        x-inshore-user, last-event-id, \
        x-stainless-arch, x-stainless-lang, x-stainless-os, x-stainless-package-version, x-stainless-retry-count, \
        x-stainless-runtime, x-stainless-runtime-version, x-stainless-timeout, x-stainless-helper-method, \
        x-stainless-async, x-stainless-poll-helper, x-stainless-custom-poll-interval, idempotency-key";
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
    response
}

fn allow_origin(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    const EXPOSED: &str = "x-request-id, request-id, x-inshore-receipt, x-inshore-target, x-inshore-tier, x-inshore-cache, x-inshore-note, retry-after, x-should-retry";
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
}

/// The request's id, under the name that each API's client looks for.
fn finished(mut response: Response, id: &str, shape: Shape) -> Response {
    let name = match shape {
        Shape::Anthropic => HeaderName::from_static("request-id"),
        Shape::OpenAi | Shape::Native => HeaderName::from_static("x-request-id"),
    };
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(name, id);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_cut_off_and_addresses_are_not() {
        for (host, name) in [
            ("localhost:8080", "localhost"),
            ("localhost", "localhost"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("evil.example:", "evil.example:"),
            ("127.0.0.1:x", "127.0.0.1:x"),
        ] {
            assert_eq!(without_port(host), name, "{host}");
        }
    }

    #[test]
    fn a_bearer_token_is_found_in_any_case() {
        assert_eq!(bearer(b"Bearer abc"), Some(b"abc".as_slice()));
        assert_eq!(bearer(b"bearer  abc "), Some(b"abc".as_slice()));
        for other in ["", "Bearer", "Basic abcdefgh", "Bearerabc"] {
            assert_eq!(bearer(other.as_bytes()), None, "{other}");
        }
    }
}
