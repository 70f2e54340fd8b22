//! A plan for `inshore advise`: features that somebody thinks of, in a file of their own.
//!
//! ```toml
//! [features.chat]
//! latency = "2s"            # as in the config: latency, sensitivity, quality, profile, strategy, prefer, stays_here, regions,
//! sensitivity = "internal"  # max_output; what is not said stays as the preset of this name has it
//! per_day = 50              # requests; or per_month, of 30 days
//! prompt_tokens = 1500
//! answer_tokens = 300
//! needs = ["chat", "tools"] # what a target must be able to do
//! escalated = 20            # the share in percent that a hybrid is assumed to send on
//! ```

use std::path::Path;

use inshore_policy::advise::{DAYS, Planned};
use toml::de::{DeTable, DeValue};

use super::keys::PLANNED;
use super::layers::{Entries, Lines, MAX_FILE, Origin, Setting, Settings, entries_of, first_line, unknown};
use super::problem::Problems;
use super::reader::Reader;
use super::{features, targets};

/// Most features of one plan: a table of more is read by nobody, and the config has no more sections by hand.
pub(crate) const MAX_FEATURES: usize = 100;
/// Longest name of a feature, as the API takes it.
const NAME_CHARS: usize = 64;
/// Most requests a day: a thousand a second, day and night.
const MAX_A_DAY: u32 = 86_400_000;
/// Longest prompt and answer, in tokens: ten times the largest window there is.
const MAX_TOKENS: u32 = 10_000_000;

/// Reads a plan. What it does not say of a feature is as `usual` has it for the name.
pub(crate) fn read(
    path: &Path,
    bytes: &[u8],
    usual: impl Fn(&str) -> Planned,
) -> Result<Vec<Planned>, Problems> {
    let mut problems = Problems::default();
    let settings = settings(path, bytes, &mut problems);
    let mut plan = Vec::new();
    let mut reader = Reader::new(&settings, None, &mut problems);
    for (name, entries) in settings.names("features") {
        plan.push(one(&mut reader, usual(name), entries));
    }
    if plan.is_empty() && problems.is_empty() {
        let hint = "begin one with `[features.chat]`; `inshore advise --help` has an example";
        problems.add(path.display(), "this plan has no feature", Some(hint.to_owned()));
    }
    if problems.is_empty() { Ok(plan) } else { Err(problems) }
}

/// One feature from the answers that somebody gave, by key.
pub(crate) fn of_answers(answers: &Entries, usual: Planned) -> Result<Planned, Problems> {
    let mut problems = Problems::default();
    let settings = Settings::default();
    let planned = one(&mut Reader::new(&settings, None, &mut problems), usual, answers);
    if problems.is_empty() { Ok(planned) } else { Err(problems) }
}

/// What somebody answered to the question for a key.
pub(crate) fn answer(text: &str) -> Setting {
    let value = super::layers::literal(text).unwrap_or_else(|| toml::Value::String(text.to_owned()));
    Setting { value, origin: Origin::Flag("your answer".to_owned()) }
}

/// Why a feature cannot have this name.
pub(crate) fn wrong_name(name: &str) -> Option<String> {
    let fine = !name.is_empty() && name.chars().count() <= NAME_CHARS && !name.chars().any(char::is_control);
    (!fine).then(|| format!("the name of a feature has 1 to {NAME_CHARS} printable characters"))
}

fn settings(path: &Path, bytes: &[u8], problems: &mut Problems) -> Settings {
    let mut settings = Settings::default();
    let place = path.display();
    if bytes.len() as u64 > MAX_FILE {
        problems.add(
            place,
            format!("the file is longer than the {MAX_FILE} bytes that a plan may have"),
            None,
        );
        return settings;
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        problems.add(place, "the file is not text in UTF-8", None);
        return settings;
    };
    let lines = Lines { path, text };
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let place =
                error.span().map_or_else(|| place.to_string(), |at| lines.origin(at.start).to_string());
            problems.add(place, format!("not valid TOML: {}", first_line(error.message())), None);
            return settings;
        }
    };
    for (section, value) in document.get_ref() {
        let origin = lines.origin(section.span().start);
        match (section.get_ref().as_ref(), value.get_ref()) {
            ("features", DeValue::Table(table)) => merge(&mut settings, table, &lines, problems),
            ("features", _) => {
                let hint = "begin each feature with `[features.NAME]`".to_owned();
                problems.add(origin, "`features` is a section", Some(hint));
            }
            (other, _) => unknown(problems, origin, "section", other, ["features"].into_iter(), ""),
        }
    }
    settings
}

fn merge(settings: &mut Settings, table: &DeTable<'_>, lines: &Lines<'_>, problems: &mut Problems) {
    for (count, (key, value)) in table.iter().enumerate() {
        let (name, origin) = (key.get_ref().as_ref(), lines.origin(key.span().start));
        if count == MAX_FEATURES {
            problems.add(origin, format!("a plan has {MAX_FEATURES} features at most"), None);
            return;
        }
        if let Some(message) = wrong_name(name) {
            problems.add(origin, message, None);
            continue;
        }
        let DeValue::Table(table) = value.get_ref() else {
            let hint = format!("begin it with `[features.{name}]`");
            problems.add(origin, format!("`features.{name}` is a section"), Some(hint));
            continue;
        };
        let entries = entries_of(table, &format!("features.{name}."), &PLANNED, lines, problems);
        settings.named.entry("features").or_default().insert(name.to_owned(), entries);
    }
}

fn one<'a>(reader: &mut Reader<'a>, usual: Planned, entries: &'a Entries) -> Planned {
    let name = format!("features.{}", usual.name);
    reader.within(&name, entries, Origin::BuiltIn, |reader| {
        if reader.has("per_day") && reader.has("per_month") {
            let hint = Some("leave one of them out");
            reader.wrong("per_month", "both `per_day` and `per_month` are said".to_owned(), hint);
        }
        let a_day = reader.maybe("per_day", |reader, path| reader.whole(path, 1, MAX_A_DAY));
        let a_month = reader.maybe("per_month", |reader, path| reader.whole(path, 1, u32::MAX));
        let tokens = |reader: &mut Reader<'_>, path: &str| reader.whole(path, 1, MAX_TOKENS);
        let percent =
            |reader: &mut Reader<'_>, path: &str| u8::try_from(reader.whole(path, 0, 100)).unwrap_or(100);
        let requests = a_day.map(|count| u64::from(count) * DAYS).or(a_month.map(u64::from));
        Planned {
            requests: requests.unwrap_or(usual.requests),
            prompt_tokens: reader.maybe("prompt_tokens", tokens).unwrap_or(usual.prompt_tokens),
            answer_tokens: reader.maybe("answer_tokens", tokens).unwrap_or(usual.answer_tokens),
            escalated: reader.maybe("escalated", percent).unwrap_or(usual.escalated),
            needs: reader.maybe("needs", targets::capabilities).unwrap_or(usual.needs),
            feature: features::one(reader, usual.feature),
            name: usual.name,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use inshore_domain::{Capability, Profile, Sensitivity};
    use proptest::prelude::*;
    use std::time::Duration;

    fn plan(text: &str) -> Result<Vec<Planned>, String> {
        read(Path::new("plan.toml"), text.as_bytes(), Planned::usual).map_err(|problems| problems.to_string())
    }

    #[test]
    fn what_is_said_counts_and_the_rest_is_as_usual() {
        let text = "[features.chat]\nlatency = \"3s\"\nper_day = 7\nneeds = [\"chat\", \"tools\"]\n\
                    [features.\"my own\"]\nper_month = 5\nsensitivity = \"confidential\"\nprofile = \"batch\"\nescalated = 0\n";
        let plan = plan(text).unwrap();
        let [chat, own] = plan.as_slice() else { panic!("{plan:?}") };
        let usual = Planned::usual("chat");
        assert_eq!(chat.feature.latency_budget, Some(Duration::from_secs(3)));
        assert_eq!((chat.feature.quality_floor, chat.prompt_tokens), (Some(50), usual.prompt_tokens));
        assert_eq!((chat.requests, chat.escalated), (210, 20));
        assert!(chat.needs.has(Capability::Tools));
        assert_eq!((own.name.as_str(), own.requests, own.escalated), ("my own", 5, 0));
        assert_eq!(own.feature.sensitivity, Some(Sensitivity::Confidential));
        assert_eq!(own.feature.profile, Profile::Batch);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        insta::assert_snapshot!(plan("[features.chat]\nper_dya = 3\nlatency = 2\nsensitivity = \"secret\"\n").unwrap_err(), @r#"
        plan.toml:2: unknown key `features.chat.per_dya`
          hint: the nearest known key is `features.chat.per_day`
        plan.toml:3: `features.chat.latency` must be a duration such as "250ms", "30s" or "5m", not `2`
        plan.toml:4: `features.chat.sensitivity` must be one of "public", "internal", "confidential", "restricted", not `secret`
        "#);
        insta::assert_snapshot!(plan("[feature.chat]\n").unwrap_err(), @r"
        plan.toml:1: unknown section `feature`
          hint: the nearest known section is `features`
        ");
        insta::assert_snapshot!(plan("[features]\nchat = 3\n").unwrap_err(), @r"
        plan.toml:2: `features.chat` is a section
          hint: begin it with `[features.chat]`
        ");
        insta::assert_snapshot!(plan("[features.chat]\nper_day = 0\nper_month = 3\n").unwrap_err(), @r"
        plan.toml:3: both `per_day` and `per_month` are said
          hint: leave one of them out
        plan.toml:2: `features.chat.per_day` must be a whole number from 1 to 86400000, not `0`
        ");
        insta::assert_snapshot!(plan("# nothing\n").unwrap_err(), @r"
        plan.toml: this plan has no feature
          hint: begin one with `[features.chat]`; `inshore advise --help` has an example
        ");
        insta::assert_snapshot!(plan("[features.chat\n").unwrap_err().lines().next().unwrap(), @"plan.toml:1: not valid TOML: unclosed table, expected `]`");
        assert!(plan(&format!("[features.{}]\n", "x".repeat(65))).unwrap_err().contains("1 to 64"));
        let many: String = (0..101).map(|i| format!("[features.f{i}]\n")).collect();
        assert!(plan(&many).unwrap_err().contains("100 features at most"));
    }

    #[test]
    fn every_key_of_a_plan_is_read() {
        let all = "[features.chat]\n";
        let settings = settings(Path::new("plan.toml"), all.as_bytes(), &mut Problems::default());
        let mut problems = Problems::default();
        let mut reader = Reader::new(&settings, None, &mut problems);
        for (name, entries) in settings.names("features") {
            one(&mut reader, Planned::usual(name), entries);
        }
        for key in PLANNED {
            assert!(reader.asked.contains(&format!("features.chat.{key}")), "nobody reads `{key}`");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(Path::new("plan.toml"), &bytes, Planned::usual);
        }

        #[test]
        fn no_text_that_looks_like_a_plan_does(
            lines in proptest::collection::vec((proptest::sample::select(PLANNED.to_vec()), "[\"0-9a-z\\[\\]{}=,. #-]{0,12}"), 0..8),
        ) {
            let body: String = lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
            let _ = plan(&format!("[features.chat]\n{body}"));
        }
    }
}
