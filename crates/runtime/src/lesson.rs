//! What can be learned of one answer: its statistics, and how it turns out.

use std::sync::Arc;

use inshore_domain::request::{OutputFormat, PromptText, Role};
use inshore_domain::{Delta, Event, Outcome, Request, TargetId, Task, Tier};
use inshore_policy::cost;
use inshore_policy::router::agreement::final_answer;
use inshore_policy::router::{Agreement, Answer, Family, Pair, Prompt, Reason, Signals};
use inshore_store::{Label, LabelSource, Statistics, Verdict};

use crate::account::Account;
use crate::cascade::{calls, logprobs};
use crate::half::Gathered;
use crate::learn;
use crate::registry::Registry;
use crate::settle::Running;
use crate::statistics;

/// Bytes of an answer that are compared. What is longer comes down to nothing short, and is not held in memory for it.
const MOST_COMPARED: usize = 64 << 10;

/// The text of an answer and the tools that it calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    text: String,
    calls: Vec<(String, String)>,
    bytes: usize,
}

impl Said {
    pub(crate) fn of(gathered: &Gathered) -> Self {
        let mut said = Self::default();
        for event in &gathered.events {
            said.take(event);
        }
        said
    }

    /// Adds a piece of the answer.
    pub(crate) fn take(&mut self, event: &Event) {
        let Event::Delta { index: 0, delta } = event else { return };
        self.bytes += match delta {
            Delta::Text { text, .. } => text.len(),
            Delta::ToolCall { name, .. } => name.len(),
            Delta::ToolArguments { fragment, .. } => fragment.len(),
            Delta::Reasoning(_) => 0,
        };
        if self.bytes > MOST_COMPARED {
            return;
        }
        match delta {
            Delta::Text { text, .. } => self.text.push_str(text),
            Delta::ToolCall { name, .. } => self.calls.push((name.clone(), String::new())),
            Delta::ToolArguments { call, fragment } => {
                if let Some((_, arguments)) = self.calls.get_mut(*call as usize) {
                    arguments.push_str(fragment);
                }
            }
            Delta::Reasoning(_) => {}
        }
    }

    /// One text: the tool calls as JSON, where there are some.
    fn one_text(&self) -> String {
        as_text(&self.text, &self.calls)
    }

    /// Whether two answers come to the same; `None` where the second, which is taken for right, comes to nothing that can be compared.
    pub(crate) fn compare(&self, right: &Said) -> Option<Verdict> {
        if self.bytes.max(right.bytes) > MOST_COMPARED {
            return None;
        }
        let (ours, theirs) = (self.one_text(), right.one_text());
        final_answer(&theirs)?;
        let same = Agreement::of(&ours, &[&theirs]).confirmed_by(1);
        Some(if same { Verdict::Same } else { Verdict::Different })
    }
}

fn as_text(text: &str, calls: &[(String, String)]) -> String {
    if calls.is_empty() {
        return text.to_owned();
    }
    // A name that needs other escapes than these is no tool's, and such answers only look different.
    let call =
        |(name, arguments): &(String, String)| format!("{{\"tool\":{name:?},\"arguments\":{arguments}}}");
    format!("[{}]", calls.iter().map(call).collect::<Vec<_>>().join(","))
}

/// An answer that a router may judge, and what was seen of it.
#[derive(Debug)]
pub(crate) struct Known {
    family: Family,
    pair: Pair,
    signals: Signals,
    /// It costs nothing where it was made.
    free: bool,
    said: Said,
}

/// How checks have found an answer.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// One of them says that it follows the form that was asked for.
    pub(crate) sound: bool,
    /// What others have answered.
    pub(crate) others: Vec<String>,
}

impl Known {
    /// What is known of an answer of `device` that stood up to checks; `cloud` is asked if it is not kept. `None` where the feature
    /// declares no risk, or the request has no text.
    pub(crate) fn of(
        account: &Account,
        registry: &Registry,
        (device, cloud): (&TargetId, &TargetId),
        gathered: &Gathered,
        found: &Found,
    ) -> Option<Self> {
        learn::risk(account, registry)?;
        let (text, tools, json) = asked(&account.request)?;
        let prompt = Prompt { text: &text, tools, json };
        let (logprobs, others) = (logprobs(gathered), found.others.iter().map(String::as_str));
        let (others, answer): (Vec<&str>, _) = (others.collect(), as_text(&gathered.text, &calls(gathered)));
        let answer = Answer {
            text: &answer,
            finish: gathered.reason,
            logprobs: &logprobs,
            others: &others,
            check: found.sound.then_some(true),
        };
        Some(Self {
            family: Family::of(prompt),
            pair: Pair { device: device.clone(), cloud: cloud.clone() },
            signals: Signals::read(prompt, Some(answer)),
            free: registry.get(device).is_some_and(|entry| entry.target.tier == Tier::Device),
            said: Said::of(gathered),
        })
    }

    /// Whether the router keeps it, where the feature declares a risk, and why.
    pub(crate) fn judged(&self, account: &Account, registry: &Registry) -> Option<Result<Reason, Reason>> {
        let risk = learn::risk(account, registry)?;
        let judgement = account.shared.learning.judge(risk, self.family, &self.pair, &self.signals);
        Some(if judgement.accepts() { Ok(judgement.reason) } else { Err(judgement.reason) })
    }

    /// The target that is asked if it is not kept.
    pub(crate) fn cloud(&self) -> &TargetId {
        &self.pair.cloud
    }

    /// As it is stored. `usage` is what an answer took: the other target's where it was there, else this one.
    pub(crate) fn statistics(&self, running: &Running) -> Statistics {
        let registry = running.account.shared.registry.load();
        let price = registry.get(&self.pair.cloud).and_then(|entry| entry.target.price);
        Statistics {
            family: self.family.as_str().to_owned(),
            device: self.pair.device.clone(),
            cloud: self.pair.cloud.clone(),
            signals: statistics::written(&self.signals),
            spared: price.filter(|_| self.free).map(|price| cost(&price, &running.usage)),
        }
    }
}

/// What the user wrote last, whether tools are offered, and whether JSON is asked for.
fn asked(request: &Request) -> Option<(String, bool, bool)> {
    let json =
        |output: &OutputFormat| matches!(output, OutputFormat::JsonObject | OutputFormat::JsonSchema { .. });
    match &request.task {
        Task::Chat(chat) => {
            let last = chat.messages.iter().rev().find(|message| message.role == Role::User)?;
            Some((last.joined_text(), !chat.tools.is_empty(), json(&chat.output)))
        }
        Task::Completion(completion) => match completion.prompts.as_slice() {
            [PromptText::Text(text)] => Some((text.clone(), false, json(&completion.output))),
            _ => None,
        },
        Task::Embedding(_) => None,
    }
}

/// The family of a request.
pub(crate) fn family(request: &Request) -> Option<Family> {
    let (text, tools, json) = asked(request)?;
    Some(Family::of(Prompt { text: &text, tools, json }))
}

/// What there is to learn of a request when it ends.
#[derive(Debug)]
pub(crate) enum Lesson {
    /// The answer was kept: what is said of it later becomes a label.
    Kept(Box<Known>),
    /// It was not, and the next target's is on its way.
    Escalated(Box<Known>, Said),
}

/// What is stored of it.
#[derive(Debug)]
pub(crate) enum Learnt {
    Remember(Statistics),
    Label(Statistics, Verdict),
}

impl Lesson {
    /// A piece of the answer that is given.
    pub(crate) fn take(&mut self, event: &Event) {
        if let Self::Escalated(_, said) = self {
            said.take(event);
        }
    }

    /// What is learned, now that the request ends like this.
    pub(crate) fn end(self, running: &Running, outcome: &Outcome) -> Option<Learnt> {
        if *outcome != Outcome::Answered {
            return None;
        }
        let statistics = |known: &Known| known.statistics(running);
        match self {
            Self::Kept(known) => Some(Learnt::Remember(statistics(&known))),
            Self::Escalated(known, said) => {
                let (answered_by, _) = running.answering.as_ref()?;
                let verdict = known.said.compare(&said).filter(|_| answered_by.id == *known.cloud())?;
                Some(Learnt::Label(statistics(&known), verdict))
            }
        }
    }
}

impl Learnt {
    /// Hands it to the store. Nobody waits for it: what is lost with the process is one label.
    pub(crate) fn keep(self, account: &Arc<Account>) {
        let (shared, id, at) = (&account.shared, account.id, account.shared.clock.now());
        match self {
            Self::Remember(statistics) => {
                let remembering = shared.store.remember(id, at, statistics);
                shared.tasks.spawn(async move {
                    if let Err(error) = remembering.await {
                        tracing::error!(receipt = %id, %error, "statistics of an answer could not be kept");
                    }
                });
            }
            Self::Label(statistics, verdict) => {
                let label = Label { receipt: id, at, statistics, verdict, source: LabelSource::Escalation };
                add(account, label);
            }
        }
    }
}

/// Adds a label; now and then all are looked at again.
pub(crate) fn add(account: &Arc<Account>, label: Label) {
    let shared = account.shared.clone();
    let adding = shared.store.add_label(label);
    account.shared.tasks.spawn(async move {
        match adding.await {
            Ok(true) => shared.one_label_more().await,
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "a label could not be kept"),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        let mut said = Said::default();
        said.take(&Event::Delta { index: 0, delta: Delta::Text { text: text.into(), logprobs: Vec::new() } });
        said
    }

    fn calling(name: &str, arguments: &str) -> Said {
        let mut said = Said::default();
        let call = Delta::ToolCall { call: 0, id: "1".into(), name: name.into() };
        said.take(&Event::Delta { index: 0, delta: call });
        let fragment = Delta::ToolArguments { call: 0, fragment: arguments.into() };
        said.take(&Event::Delta { index: 0, delta: fragment });
        said
    }

    #[test]
    fn answers_are_compared_by_what_they_come_to() {
        let verdict = |ours: &str, right: &str| said(ours).compare(&said(right));
        assert_eq!(verdict("The answer is 42.", "6 * 7 = 42\n#### 42"), Some(Verdict::Same));
        assert_eq!(verdict("The answer is 41.", "The answer is 42."), Some(Verdict::Different));
        assert_eq!(verdict("", "The answer is 42."), Some(Verdict::Different));
        let prose = "Dear Ann,\nthank you for your letter, which I liked.\nYours, Bob, who writes slowly and at some length.";
        assert_eq!(verdict("The answer is 42.", prose), None, "there is nothing to compare it with");
        assert_eq!(said("7").compare(&said(&"x".repeat(MOST_COMPARED + 1))), None);
    }

    #[test]
    fn tool_calls_are_compared_as_what_they_ask_for() {
        let right = calling("weather", r#"{"city":"Rome","days":2}"#);
        assert_eq!(calling("weather", r#"{"days":2,"city":"Rome"}"#).compare(&right), Some(Verdict::Same));
        assert_eq!(
            calling("weather", r#"{"city":"Bonn","days":2}"#).compare(&right),
            Some(Verdict::Different)
        );
        assert_eq!(calling("news", r#"{"city":"Rome","days":2}"#).compare(&right), Some(Verdict::Different));
        assert_eq!(said("It is warm.").compare(&right), Some(Verdict::Different));
    }
}
