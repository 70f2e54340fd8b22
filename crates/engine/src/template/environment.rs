//! The Jinja environment that templates of models expect: transformers' `chat_template_utils.py`, on minijinja.

use std::error::Error as _;
use std::fmt;
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::{TemplateError, json};

/// Steps of the template engine. A message costs some hundreds of steps, so this is enough for ten thousand messages, and takes
/// about a second when each step is a small one. It bounds neither what a single step takes nor what it makes: a template that
/// doubles a string in a loop is ended by the limits of the process it runs in.
const FUEL: u64 = 5_000_000;
/// Nesting of includes and macros; templates of models have two or three levels.
const RECURSION: usize = 64;
/// Bytes of output: as long as the longest prompt a frame can carry is far from being useful.
const MAX_OUTPUT: usize = 16 << 20;
/// Longest message of a template that is passed on.
const MAX_MESSAGE: usize = 500;

/// What `raise_exception` was given.
#[derive(Debug)]
struct Raised(String);

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// Compiles a template.
pub(super) fn compile(name: &'static str, source: &str) -> Result<Environment<'static>, TemplateError> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .map_err(|error| explain(&error))?;
    environment.set_syntax(syntax);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(python_method);
    environment.add_filter("tojson", json::to_json);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, "raised").with_source(Raised(message)))
    });
    environment.add_template_owned(name, without_generation_tags(source)).map_err(|error| explain(&error))?;
    Ok(environment)
}

/// Methods of Python's strings, lists and dicts.
fn python_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
}

/// transformers marks the assistant's part for training with `{% generation %}`; for rendering the tags mean nothing.
fn without_generation_tags(source: &str) -> String {
    let mut out = source.to_owned();
    for (tag, instead) in [("endgeneration", "endif"), ("generation", "if true")] {
        for (open, close) in [("{%", "%}"), ("{%-", "%}"), ("{%", "-%}"), ("{%-", "-%}")] {
            out = out.replace(&format!("{open} {tag} {close}"), &format!("{open} {instead} {close}"));
        }
    }
    out
}

/// Takes bytes up to a limit.
struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len().saturating_add(bytes.len()) > MAX_OUTPUT {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Renders a template.
pub(super) fn render(
    environment: &Environment<'static>,
    name: &str,
    context: Value,
) -> Result<String, TemplateError> {
    let template = environment.get_template(name).map_err(|error| explain(&error))?;
    let mut out = Limited(Vec::new());
    template.render_captured_to(context, &mut out).map_err(|error| explain(&error))?;
    String::from_utf8(out.0).map_err(|_| TemplateError::Broken("it wrote text that is not UTF-8".into()))
}

fn explain(error: &Error) -> TemplateError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(inner) = cause {
        if let Some(Raised(message)) = inner.downcast_ref::<Raised>() {
            return TemplateError::Refused(shortened(message));
        }
        cause = inner.source();
    }
    match error.kind() {
        ErrorKind::OutOfFuel => TemplateError::Limit("too many steps".to_owned()),
        ErrorKind::WriteFailure => TemplateError::Limit("too much output".to_owned()),
        _ => {
            let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
            let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
            TemplateError::Broken(shortened(&format!("{}{detail}{line}", error.kind())))
        }
    }
}

/// Takes out the marks as well: they must never leave this module.
fn shortened(message: &str) -> String {
    message.chars().filter(|c| *c != super::people::MARK).take(MAX_MESSAGE).collect()
}
