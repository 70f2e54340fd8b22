use super::*;
use crate::rules::Settings;
use crate::samples::{shared, target};

const TEXT: &str = r#"
[[target]]
id = "openai/gpt-5"
tier = "cloud"
max_sensitivity = "internal"
region = "us"
tags = ["premium"]

[[target]]
id = "openai/free"
tier = "cloud"
price = { input = 250_000, output = 2_000_000 }

[[case]]
name = "premium users reach the premium model"
facts = { model = "cloud", groups = ["premium"] }
expect = "openai/gpt-5"
because = "consent"

[[case]]
name = "others do not"
facts = { model = "cloud", user = "bob" }
expect = "deny"
because = "premium"

[[case]]
name = "confidential text stays here"
facts = { sensitivity = "confidential", findings = ["iban"], groups = ["premium"] }
expect = ["device/small"]
because = "too_sensitive"

[[case]]
name = "the wrong expectation"
facts = { groups = ["premium"], offline = true, regions = ["eu"] }
targets = ["device/small", "openai/gpt-5"]
expect = "cloud"
because = "residency"

[[case]]
name = "a name that is mistyped"
expect = "openai/gpt5"
"#;

fn rules() -> Rules {
    let text = r#"@id("premium") @reason("this model is for the group premium")
        forbid (principal, action, resource) when { resource.tags.contains("premium") } unless { principal in Group::"premium" };"#;
    Rules::parse(text, Settings::default()).expect("valid")
}

#[test]
fn a_report_shows_what_was_expected_and_found() {
    let targets = shared([target("device/small", Tier::Device)]);
    let report = run_cases(TEXT, &rules(), &targets).expect("readable");
    assert_eq!((report.passed(), report.all_passed()), (3, false));
    insta::assert_snapshot!(report.to_string());
}

#[test]
fn cases_with_features_are_completed_as_requests_are() {
    let text = "[[case]]\nname = 'typing stays here'\nfacts = { feature = 'inline-completion', model = 'cloud' }\nexpect = 'deny'\nbecause = 'egress'";
    let mut there = target("openai/big", Tier::Cloud);
    there.permitted_up_to = Some(inshore_domain::Sensitivity::Confidential);
    let report = run_cases(text, &Rules::default(), &shared([there])).expect("readable");
    assert!(report.all_passed(), "{report}");
}

#[test]
fn what_cannot_be_read_is_said_with_its_line() {
    let refusal = |text: &str| run_cases(text, &Rules::default(), &[]).expect_err("unreadable").to_string();
    insta::assert_snapshot!(
        [
            refusal("[[case]]\nname = 'x'\nexpext = 'deny'"),
            refusal("[[case]]\nexpect = 'deny'"),
            refusal("\n\n[[case]]\nname = 'x'\nfacts = { sensitivity = 'secret' }\nexpect = 'deny'"),
            refusal("[[case]]\nname = 'x'\nfacts = { needs = ['chatt'] }\nexpect = 'deny'"),
            refusal("[[case]]\nname = 'x'\nfacts = { profile = 'now' }\nexpect = 'deny'"),
            refusal("[[target]]\nid = 'x'\ntier = 'moon'"),
            refusal("name ="),
            refusal(&"#".repeat(MAX_TEXT + 1)),
            refusal(&"[[case]]\nname='x'\nexpect='deny'\n".repeat(MAX_CASES + 1)),
        ]
        .join("\n")
    );
}
