//! What can be told of prose without understanding it.

use std::collections::HashMap;

use inshore_domain::request::{Chat, PromptText, Role};
use inshore_domain::{Request, Task};

use super::Found;

/// How a refusal begins. In the first words only: later on these are quotations more often than refusals.
const REFUSALS: [&str; 22] = [
    "i'm sorry, but",
    "i am sorry, but",
    "sorry, but i",
    "i can't help",
    "i cannot help",
    "i can't assist",
    "i cannot assist",
    "i can't provide",
    "i cannot provide",
    "i'm unable to",
    "i am unable to",
    "i'm not able to",
    "i am not able to",
    "as an ai",
    "as a language model",
    "i don't have access to",
    "i do not have access to",
    "i don't know",
    "i do not know",
    "es tut mir leid, aber",
    "je suis désolé, mais",
    "lo siento, pero",
];
/// Characters at the beginning in which a refusal is looked for.
const BEGINNING: usize = 160;

pub(super) fn refusal(text: &str) -> Found {
    let beginning: String = text.trim_start().chars().take(BEGINNING).collect();
    let beginning = beginning.to_lowercase().replace('’', "'");
    if REFUSALS.iter().any(|refusal| beginning.contains(refusal)) {
        return Found::Wanting("it refuses, or says that it cannot".into());
    }
    Found::Fine
}

/// Words in one of the runs that are compared.
const RUN: usize = 4;
/// Texts with fewer words may repeat what they like: lists and tables do.
const FEWEST_WORDS: usize = 40;
/// Shares of runs, in percent, that have been there before. Ordinary prose has a few percent, tables and verse up to 30; a model that is
/// caught in a loop soon has most of them.
const MOST_REPEATED: usize = 50;
/// Words that are looked at: a loop that begins later has made the answer long before.
const MOST_WORDS: usize = 4_000;

pub(super) fn repetition(text: &str) -> Found {
    let words: Vec<&str> = text.split_whitespace().take(MOST_WORDS).collect();
    if words.len() < FEWEST_WORDS {
        return Found::Fine;
    }
    let mut runs: HashMap<&[&str], usize> = HashMap::new();
    for run in words.windows(RUN) {
        *runs.entry(run).or_default() += 1;
    }
    let all = words.len() + 1 - RUN;
    let repeated = all - runs.len();
    if repeated * 100 > all * MOST_REPEATED {
        return Found::Wanting("it repeats itself".into());
    }
    Found::Fine
}

/// Letters below which a language is a guess.
const FEWEST_LETTERS: usize = 60;
/// Bytes of each text that are looked at.
const LOOKED_AT: usize = 2_000;

pub(super) fn language(request: &Request, text: &str) -> Found {
    let question = match &request.task {
        Task::Chat(chat) => asked(chat),
        Task::Completion(completion) => match completion.prompts.first() {
            Some(PromptText::Text(text)) => text.clone(),
            _ => return Found::Fine,
        },
        Task::Embedding(_) => return Found::Fine,
    };
    // Whoever asks for a translation, or names a language, is not to be answered in the question's.
    if let (Some(asked), Some(answered)) = (spoken(&question), spoken(text))
        && asked != answered
        && !names_a_language(&question)
    {
        return Found::Wanting("it is in another language than the question".into());
    }
    Found::Fine
}

fn asked(chat: &Chat) -> String {
    let last = chat.messages.iter().rev().find(|message| message.role == Role::User);
    last.map(inshore_domain::request::Message::joined_text).unwrap_or_default()
}

fn spoken(text: &str) -> Option<whatlang::Lang> {
    let beginning =
        text.char_indices().nth(LOOKED_AT).map_or(text, |(byte, _)| text.get(..byte).unwrap_or(text));
    if beginning.chars().filter(|letter| letter.is_alphabetic()).count() < FEWEST_LETTERS {
        return None;
    }
    whatlang::detect(beginning).filter(whatlang::Info::is_reliable).map(|info| info.lang())
}

fn names_a_language(question: &str) -> bool {
    const WORDS: [&str; 24] = [
        "translat",
        "übersetz",
        "tradui",
        "traduc",
        "english",
        "german",
        "french",
        "spanish",
        "italian",
        "chinese",
        "japanese",
        "dutch",
        "portuguese",
        "russian",
        "deutsch",
        "englisch",
        "anglais",
        "allemand",
        "inglés",
        "alemán",
        "korean",
        "arabic",
        "polish",
        "turkish",
    ];
    let question = question.to_lowercase();
    WORDS.iter().any(|word| question.contains(word))
}
