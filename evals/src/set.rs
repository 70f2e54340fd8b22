//! What is replayed: requests whose answers and outcomes are known.

use inshore_domain::{FinishReason, Money, TargetId};
use inshore_policy::router::{Answer, Family, Label, Outcome, Pair, Prompt, Signals};

/// One request with what became of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) prompt: String,
    pub(crate) family: Family,
    pub(crate) tools: bool,
    /// What the device answered, where the table has it.
    pub(crate) answer: Option<String>,
    pub(crate) finish: Option<FinishReason>,
    pub(crate) logprobs: Vec<f32>,
    /// What other models on the device answered.
    pub(crate) others: Vec<String>,
    pub(crate) check: Option<bool>,
    pub(crate) device_right: bool,
    pub(crate) cloud_right: bool,
    pub(crate) spared: Option<Money>,
}

impl Row {
    /// A request of which only the outcomes are known.
    pub(crate) fn new(prompt: String, family: Family, device_right: bool, cloud_right: bool) -> Self {
        Self {
            prompt,
            family,
            tools: false,
            answer: None,
            finish: None,
            logprobs: Vec::new(),
            others: Vec::new(),
            check: None,
            device_right,
            cloud_right,
            spared: None,
        }
    }
}

/// How much of a row the router is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Prompt,
    Answer,
    /// The answer, and this many of the others.
    Agreement(usize),
}

impl View {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Prompt => "prompt alone".into(),
            Self::Answer => "answer statistics".into(),
            Self::Agreement(1) => "answer statistics and agreement with one other".into(),
            Self::Agreement(others) => format!("answer statistics and agreement with {others} others"),
        }
    }
}

/// A table of requests for one pair of targets.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) device: String,
    pub(crate) cloud: String,
    pub(crate) rows: Vec<Row>,
}

impl Set {
    pub(crate) fn pair(&self) -> Pair {
        Pair { device: TargetId(self.device.clone()), cloud: TargetId(self.cloud.clone()) }
    }

    /// The views that the columns of the table allow.
    pub(crate) fn views(&self) -> Vec<View> {
        let others = self.rows.iter().map(|row| row.others.len()).max().unwrap_or(0);
        let mut views = vec![View::Prompt];
        if self.rows.iter().any(|row| row.answer.is_some()) {
            views.push(View::Answer);
            views.extend((others > 0).then_some(View::Agreement(1)));
            views.extend((others > 1).then_some(View::Agreement(others)));
        }
        views
    }

    /// What the router is shown of each row, with its outcome.
    pub(crate) fn labels(&self, view: View) -> Vec<Label> {
        let label = |row: &Row| Label {
            signals: signals(row, view),
            outcome: Outcome::Compared { device: row.device_right, cloud: row.cloud_right },
            spared: row.spared,
        };
        self.rows.iter().map(label).collect()
    }
}

fn signals(row: &Row, view: View) -> Signals {
    let others: Vec<&str> = match view {
        View::Agreement(count) => row.others.iter().take(count).map(String::as_str).collect(),
        _ => Vec::new(),
    };
    let answer = row.answer.as_deref().filter(|_| view != View::Prompt).map(|text| Answer {
        text,
        finish: row.finish,
        logprobs: &row.logprobs,
        others: &others,
        check: row.check,
    });
    Signals::read(Prompt { text: &row.prompt, tools: row.tools, json: false }, answer)
}
