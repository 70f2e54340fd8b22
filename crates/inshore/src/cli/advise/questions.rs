//! Asks for the features of a plan, one question at a time. Each answer is read by the code that reads a plan's file.

use inshore_policy::Features;
use inshore_policy::advise::{DAYS, Planned};
use rustyline::config::{Behavior, Config};
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;

use crate::config::{plan, values_written};
use crate::failure::{Exit, Failure, Outcome};
use crate::output;

/// Keys of a plan, and what is asked for each.
const QUESTIONS: [(&str, &str); 8] = [
    ("latency", "First token needed within, such as 200ms or 2s"),
    ("profile", "Who waits: realtime (somebody), async (minutes are fine), batch (hours are fine)"),
    ("sensitivity", "Its text is at least: public, internal, confidential, restricted"),
    ("stays_here", "Must it stay on this device, yes or no"),
    ("quality", "Quality needed, 0 to 100"),
    ("per_day", "Requests a day"),
    ("prompt_tokens", "Tokens of a prompt (a page of text has about 700)"),
    ("answer_tokens", "Tokens of an answer"),
];

/// What is not asked of a feature.
const NONE: &str = "none";

/// Reads lines from the terminal.
pub(super) fn terminal() -> Outcome<impl FnMut(&str) -> Outcome<String>> {
    // The terminal itself, also where stdout is a file that results go to.
    let config = Config::builder().behavior(Behavior::PreferTerm).build();
    let mut editor = rustyline::Editor::<(), MemHistory>::with_history(config, MemHistory::new())
        .map_err(|error| Failure::new(Exit::Failure, format!("the terminal cannot be used: {error}")))?;
    output::aside("An empty answer takes what is in brackets; Ctrl-C stops.");
    Ok(move |prompt: &str| match editor.readline(prompt) {
        Ok(line) => Ok(line.trim().to_owned()),
        Err(ReadlineError::Interrupted | ReadlineError::Eof) => {
            Err(Failure::new(Exit::Interrupted, "stopped, and nothing was written"))
        }
        Err(error) => Err(Failure::new(Exit::Failure, format!("the terminal cannot be read: {error}"))),
    })
}

/// Asks until no further feature is named.
pub(super) fn ask(
    usual: impl Fn(&str) -> Planned,
    mut read: impl FnMut(&str) -> Outcome<String>,
) -> Outcome<Vec<Planned>> {
    let mut all: Vec<Planned> = Vec::new();
    let presets = Features::default();
    let presets: Vec<&str> = presets.iter().map(|(name, _)| name).collect();
    output::note(&format!("Usual features are {}; any other name is one of your own.", presets.join(", ")));
    while all.len() < plan::MAX_FEATURES {
        let first = all.is_empty();
        let name = read(if first { "Feature [chat]: " } else { "Another feature [no more]: " })?;
        let name = match name.as_str() {
            "" if first => "chat",
            "" => break,
            name => name,
        };
        if let Some(message) = plan::wrong_name(name) {
            output::warn(&message);
        } else if all.iter().any(|planned| planned.name == name) {
            output::warn(&format!("`{name}` is planned already"));
        } else {
            all.push(feature(usual(name), &mut read)?);
        }
    }
    Ok(all)
}

fn feature(usual: Planned, read: &mut impl FnMut(&str) -> Outcome<String>) -> Outcome<Planned> {
    let mut planned = usual;
    for (key, question) in QUESTIONS {
        let usual = usual_answer(&planned, key);
        loop {
            let given = read(&format!("  {question} [{usual}]: "))?;
            if given.is_empty() || given == usual {
                break;
            }
            match answered(&planned, key, &given) {
                Ok(next) => {
                    planned = next;
                    break;
                }
                Err(message) => output::warn(&message),
            }
        }
    }
    Ok(planned)
}

fn answered(planned: &Planned, key: &'static str, given: &str) -> Result<Planned, String> {
    let given = match (key, given) {
        ("stays_here", "yes" | "y") => "true",
        ("stays_here", "no" | "n") => "false",
        (_, given) => given,
    };
    if given == NONE {
        return Err(format!(
            "this feature has a `{key}` of its own, which the config can change and not take away"
        ));
    }
    let answers = [(key.to_owned(), plan::answer(given))].into();
    plan::of_answers(&answers, planned.clone()).map_err(|problems| problems.to_string())
}

/// What an empty answer means.
fn usual_answer(planned: &Planned, key: &str) -> String {
    let feature = &planned.feature;
    let none = || NONE.to_owned();
    match key {
        "latency" => feature.latency_budget.map_or_else(none, values_written),
        "profile" => feature.profile.as_str().to_owned(),
        "sensitivity" => feature.sensitivity.unwrap_or_default().as_str().to_owned(),
        "stays_here" => if feature.stays_here { "yes" } else { "no" }.to_owned(),
        "quality" => feature.quality_floor.map_or_else(none, |floor| floor.to_string()),
        "per_day" => (planned.requests / DAYS).to_string(),
        "prompt_tokens" => planned.prompt_tokens.to_string(),
        _ => planned.answer_tokens.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inshore_domain::{Profile, Sensitivity};
    use std::time::Duration;

    /// Answers in turn; the questions that were asked.
    fn asked(answers: &[&str]) -> (Outcome<Vec<Planned>>, Vec<String>) {
        let mut questions = Vec::new();
        let mut answers = answers.iter();
        let plan = ask(Planned::usual, |question| {
            questions.push(question.to_owned());
            let answer = answers.next().map(|answer| (*answer).to_owned());
            answer.ok_or_else(|| Failure::new(Exit::Interrupted, "stopped, and nothing was written"))
        });
        (plan, questions)
    }

    #[test]
    fn empty_answers_take_what_is_usual() {
        let (plan, questions) = asked(&[""; 10]);
        assert_eq!(plan.unwrap(), [Planned::usual("chat")]);
        insta::assert_snapshot!(questions.join("\n"), @r"
        Feature [chat]: 
          First token needed within, such as 200ms or 2s [2s]: 
          Who waits: realtime (somebody), async (minutes are fine), batch (hours are fine) [realtime]: 
          Its text is at least: public, internal, confidential, restricted [internal]: 
          Must it stay on this device, yes or no [no]: 
          Quality needed, 0 to 100 [50]: 
          Requests a day [50]: 
          Tokens of a prompt (a page of text has about 700) [1500]: 
          Tokens of an answer [300]: 
        Another feature [no more]: 
        ");
    }

    #[test]
    fn a_wrong_answer_is_asked_for_again() {
        let answers = [
            "notes",
            "soon",
            "3s",
            "batch",
            "secret",
            "confidential",
            "maybe",
            "yes",
            "",
            "1,000",
            "0",
            "1000",
            "",
            "20",
            "notes",
            "",
        ];
        let plan = asked(&answers).0.unwrap();
        let [notes] = plan.as_slice() else { panic!("{plan:?}") };
        assert_eq!(notes.feature.latency_budget, Some(Duration::from_secs(3)));
        assert_eq!((notes.feature.profile, notes.feature.stays_here), (Profile::Batch, true));
        assert_eq!(notes.feature.sensitivity, Some(Sensitivity::Confidential));
        assert_eq!((notes.feature.quality_floor, notes.requests, notes.answer_tokens), (None, 30_000, 20));
    }

    #[test]
    fn whoever_stops_gets_nothing() {
        let (plan, _) = asked(&["chat", "none", "", ""]);
        assert_eq!(plan.unwrap_err().exit, Exit::Interrupted);
    }
}
