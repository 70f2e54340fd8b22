use super::*;
use crate::config::{check_file, layers};
use crate::environment::Environment;
use inshore_domain::{Plain, Prefer, Profile, Sensitivity, Split, Strategy as Steps};
use inshore_policy::verify::Check;
use proptest::prelude::*;
use std::time::Duration;

fn section(name: &str) -> Section {
    let feature = Feature {
        latency_budget: Some(Duration::from_secs(2)),
        quality_floor: Some(50),
        ..Feature::default()
    };
    Section::of(name, &feature, "hybrid, because\nof this")
}

fn merge(text: &str, names: &[&str], replace: bool) -> Result<String, String> {
    let sections: Vec<Section> = names.iter().map(|name| section(name)).collect();
    merged(Path::new("config.toml"), text, &sections, replace).map_err(|problems| problems.to_string())
}

const OWN: &str = "# mine\n[engine]\nthreads = 2   # few\n\n[features.chat]\n# why\nlatency = \"9s\" # long\nregions = [\n  # home\n  \"eu\",\n]\nquality = 1\n# about faq\n[features.faq]\ncache = true\n";

#[test]
fn a_section_is_added_behind_what_is_there() {
    insta::assert_snapshot!(merge(OWN, &["notes", "my own"], false).unwrap().strip_prefix(OWN).unwrap(), @r#"

    [features.notes]
    # `inshore advise`: hybrid, because of this
    latency = "2s"
    quality = 50
    profile = "realtime"
    stays_here = false

    [features."my own"]
    # `inshore advise`: hybrid, because of this
    latency = "2s"
    quality = 50
    profile = "realtime"
    stays_here = false
    "#);
    assert!(merge("", &["\\' \"x\""], false).unwrap().starts_with(r#"[features."\\' \"x\""]"#));
    assert!(merge("", &["chat"], false).unwrap().starts_with("[features.chat]\n"));
    let unended = merge("[engine]\nthreads = 2", &["chat"], false).unwrap();
    assert!(unended.starts_with("[engine]\nthreads = 2\n\n[features.chat]\n"), "{unended}");
    let windows = merge("[engine]\r\nthreads = 2\r\n", &["chat"], false).unwrap();
    assert_eq!(windows.matches('\n').count(), windows.matches("\r\n").count());
}

#[test]
fn a_section_that_is_there_is_replaced_only_when_asked_for_and_keeps_what_is_not_said() {
    insta::assert_snapshot!(merge(OWN, &["chat", "faq"], false).unwrap_err(), @r"
    config.toml:5: there is a section `[features.chat]` already
      hint: `--replace` puts the new one in its place
    config.toml:14: there is a section `[features.faq]` already
      hint: `--replace` puts the new one in its place
    ");
    let once = merge(OWN, &["chat"], true).unwrap();
    insta::assert_snapshot!(once, @r#"
    # mine
    [engine]
    threads = 2   # few

    [features.chat]
    # `inshore advise`: hybrid, because of this
    latency = "2s"
    quality = 50
    profile = "realtime"
    stays_here = false
    # why
    regions = [
      # home
      "eu",
    ]
    # about faq
    [features.faq]
    cache = true
    "#);
    assert_eq!(merge(&once, &["chat"], true).unwrap(), once, "the second time changes nothing");
    let last = merge("[features.chat]\ncache = true", &["chat", "notes"], true).unwrap();
    assert!(last.contains("cache = true\n\n[features.notes]\n"), "{last}");
}

#[test]
fn other_forms_are_left_to_their_writer() {
    for text in [
        "features = { chat = { quality = 1 } }\n",
        "[features]\nchat.quality = 1\n",
        "[features]\nchat = {}\n",
    ] {
        let message = merge(text, &["chat"], true).unwrap_err();
        assert!(message.contains("is not a section under a header"), "{message}");
    }
    assert!(merge("[features\n", &["chat"], true).unwrap_err().contains("config.toml:1: not valid TOML"));
}

fn any_feature() -> impl Strategy<Value = Feature> {
    use proptest::option::of;
    let words = (of(0..4_usize), 0..3_usize, of(0..4_usize), of(0..4_usize), of(0..2_usize));
    let numbers = (of(0..10_000_000_u64), of(0..=100_u8), of(1..=u32::MAX));
    (words, numbers, any::<bool>(), of(proptest::collection::vec("[a-z\"\\\\é]{1,6}", 0..3))).prop_map(
        |((level, profile, steps, prefer, plain), (millis, quality, most), stays_here, regions)| Feature {
            latency_budget: millis.map(Duration::from_millis),
            sensitivity: level.map(|level| Sensitivity::ALL[level]),
            quality_floor: quality,
            profile: Profile::ALL[profile],
            strategy: steps.map(|steps| Steps::ALL[steps]),
            checks: plain.map(|_| vec![Check::Tools, Check::Length(1, 9), Check::Likely(10, -2.5)]),
            patience: millis.map(|millis| Duration::from_millis(millis / 2)),
            plain: plain.map(|plain| Plain::ALL[plain]),
            split: plain.map(|split| Split::ALL[split % Split::ALL.len()]),
            prefer: prefer.map(|prefer| Prefer::ALL[prefer]),
            stays_here,
            risk: plain.map(|_| "0.5%".parse().unwrap()),
            mask: stays_here,
            regions,
            max_output_tokens: most,
        },
    )
}

proptest! {
    #[test]
    fn a_section_is_read_as_it_was_meant(feature in any_feature(), name in "[^\\p{Cc}]{1,20}", why in ".{0,40}") {
        prop_assume!(inshore_policy::Features::default().get(&name).is_none());
        let written = Section::of(&name, &feature, &why);
        let text = merged(Path::new("c"), OWN, &[written], false).unwrap();
        prop_assert!(text.starts_with(OWN));
        let config = check_file(Path::new("c"), &text, &Environment::default()).unwrap().config;
        prop_assert_eq!(config.policy.features.get(&name), Some(&feature));
    }

    #[test]
    fn nothing_else_changes(
        before in proptest::sample::select(vec!["", "# a\n", "[log]\nlevel = \"info\" # x\n\n", "[models.\"a.b\"]\ncontext = 512\n"]),
        body in proptest::sample::select(vec!["", "quality = 3\n", "# c\nlatency = '1s' # d\n", "regions = [ # e\n# f\n'eu' ]\n  # g\n"]),
        after in proptest::sample::select(vec!["", "\n# h\n[features.faq]\nquality = 1", "[engine]\nthreads = 1\n# [features.chat]\n"]),
    ) {
        let text = format!("{before}[features.chat]\n{body}{after}");
        let new = merge(&text, &["chat"], true).unwrap();
        prop_assert!(new.starts_with(before) && new.ends_with(after), "{new}");
        let comments = |text: &str| text.lines().filter(|line| line.trim_start().starts_with('#') && !line.contains("`inshore advise`")).count();
        prop_assert_eq!(comments(&new), comments(&text));
        let mut problems = Problems::default();
        let mut settings = layers::Settings::built_in();
        layers::merge_text(&mut settings, Path::new("c"), &new, &mut problems);
        prop_assert!(problems.is_empty(), "{problems}\n{new}");
        prop_assert_eq!(merge(&new, &["chat"], true).unwrap(), new);
    }

    #[test]
    fn any_text_is_merged_or_refused(text in "[\\[\\]a-z.=\"'#\n {}]{0,80}") {
        if let Ok(new) = merge(&text, &["chat"], true) {
            let parsed = DeTable::parse(&new);
            prop_assert!(parsed.is_ok() || text.contains("features"), "{new}");
        }
    }
}
