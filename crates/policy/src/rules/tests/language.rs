//! Texts that are no policies.

use super::*;
use proptest::prelude::*;

fn refusal(text: &str) -> String {
    match Rules::parse(text, Settings::default()) {
        Ok(_) => panic!("not refused: {text}"),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn errors_name_line_and_column_and_say_what_to_do() {
    let texts = [
        // Unknown attributes, words and types.
        "permit (principal, action, resource)\nwhen { resource.tierr == Tier::\"cloud\" };",
        "permit (principal, action, resource)\nwhen { context.sensitivty == 2 };",
        "permit (principal, action, resource) when { resource.tier == Tier::\"clod\" };",
        "permit (principal, action, resource in Teir::\"cloud\");",
        "permit (principal, action == Action::\"inferr\", resource);",
        "permit (principal, action, resource) when { resource.tier == \"cloud\" };",
        "permit (principal, action, resource) when { context.sensitivity == \"public\" };",
        "permit (principal, action, resource) when { context.sensitivity };",
        // What may be absent.
        "permit (principal, action, resource) when { context.metered };",
        "permit (principal, action, resource) when { resource.region == \"eu\" };",
        // Syntax.
        "permit (principal, action, resource)",
        "permit (principal, action);",
        "allow (principal, action, resource);",
        "permit (principal, action, resource) when { resource.tier = Tier::\"cloud\" };",
        "permit (principal, action, resource) when { tier == 1 };",
        "permit (principal == ?principal, action, resource);",
        "\u{1f980}",
        "\"",
        // Names.
        "@id(\"device\")\npermit (principal, action, resource);",
        "@id(\"a\") permit (principal, action, resource);\n@id(\"a\") permit (principal, action, resource);",
        "@id permit (principal, action, resource);",
        "@reason(\"two\\nlines\") permit (principal, action, resource);",
    ];
    let told: Vec<String> = texts.iter().map(|text| refusal(text)).collect();
    insta::assert_snapshot!(told.join("\n\n"));
}

#[test]
fn each_error_of_a_text_is_told_once_in_its_order() {
    let text = "permit (principal, action, resource) when { context.b };\npermit (principal, action, resource) when { context.a };";
    let errors = Rules::parse(text, Settings::default()).expect_err("refused");
    let lines: Vec<_> = errors.iter().map(|error| error.place.as_ref().map(|place| place.line)).collect();
    assert_eq!(lines, [Some(1), Some(2)]);
}

#[test]
fn a_policy_that_can_never_apply_is_a_warning() {
    let rules = read("permit (principal, action, resource)\nwhen { resource in Tier::\"cloud\" && false };");
    let [warning] = rules.warnings() else { panic!("{:?}", rules.warnings()) };
    insta::assert_snapshot!(warning.to_string());
    assert!(Rules::default().warnings().is_empty());
}

#[test]
fn there_are_not_too_many_policies_together_with_the_shipped_ones() {
    let text = "permit (principal, action, resource);\n".repeat(MAX_POLICIES - 5);
    assert_eq!(refusal(&text), "there are 201 policies, and 200 at most are asked");
}

#[test]
fn the_deepest_texts_within_the_limits_are_read_or_refused() {
    let head = "permit (principal, action, resource) when { ";
    let nested = format!("{}true{}", "(".repeat(48), ")".repeat(48));
    for condition in [
        nested.clone(),
        format!("context{}", ".a".repeat(990)),
        format!("true{}", " && true".repeat(980)),
        format!("1{} == 1", " + 1".repeat(970)),
        format!("{}true", "if true then true else ".repeat(490)),
        format!("{}true", "!".repeat(1_900)),
        format!("{}1 == 1", "-".repeat(1_900)),
        format!("[{}1].contains(1)", "1, ".repeat(950)),
        format!("{}1{} == 1", "[".repeat(48), "]".repeat(48)),
        format!("{}1{} == 1", "{a: ".repeat(48), "}".repeat(48)),
    ] {
        let text = format!("{head}{condition} }};");
        // Whichever it is: it neither overflows the stack nor panics.
        if let Ok(rules) = Rules::parse(&text, Settings::default()) {
            judged(&rules, &facts("auto"), &device());
        }
    }
    let text = format!("{head}{nested} }};");
    assert_eq!(judged(&read(&text), &facts("auto"), &device()), "ok | device policy-1-line-1");
}

#[test]
fn a_megabyte_of_anything_is_refused() {
    for piece in ["permit", "(", "\"", "// ", "\u{0}", "permit(principal,action,resource);", "é", "}", "@"] {
        let text = piece.repeat((1 << 20) / piece.len());
        assert!(refusal(&text).contains("262144 at most are read"));
        // As much of it as is looked at.
        let _ = Rules::parse(text.get(..source::MAX_TEXT).unwrap_or(""), Settings::default());
    }
}

/// Words and signs of the language in any order: far more of them parse than of random characters.
fn any_tokens() -> impl Strategy<Value = String> {
    let token = proptest::sample::select(vec![
        "permit",
        "forbid",
        "(",
        ")",
        "principal",
        "action",
        "resource",
        ",",
        ";",
        "when",
        "unless",
        "{",
        "}",
        "context",
        ".",
        "tier",
        "sensitivity",
        "==",
        "in",
        "is",
        "has",
        "like",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "<",
        "Tier",
        "::",
        "\"cloud\"",
        "\"a*\"",
        "1",
        "9223372036854775807",
        "true",
        "if",
        "then",
        "else",
        "[",
        "]",
        "@id",
        "?principal",
        "contains",
        "// ",
        "\n",
        "\\",
        "\"",
        "User",
        "ip",
        ":",
    ]);
    proptest::collection::vec(token, 0..60).prop_map(|tokens| tokens.join(" "))
}

/// The shipped policies with a piece cut out and another put in.
fn any_damage() -> impl Strategy<Value = String> {
    (0..SHIPPED.len(), 0..200_usize, ".{0,8}").prop_map(|(at, length, put)| {
        let at = SHIPPED.floor_char_boundary(at);
        let end = SHIPPED.floor_char_boundary((at + length).min(SHIPPED.len())).max(at);
        format!("{}{put}{}", &SHIPPED[..at], &SHIPPED[end..])
    })
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in prop_oneof![any_tokens(), any_damage(), any::<String>()]) {
        let settings = Settings { without_shipped: true, ..Settings::default() };
        match Rules::parse(&text, settings) {
            Ok(rules) => { judged(&rules, &facts("auto"), &device()); }
            Err(errors) => {
                for error in errors.iter() {
                    prop_assert!(!error.message.is_empty());
                    let lines = text.split('\n').count();
                    prop_assert!(error.place.as_ref().is_none_or(|place| place.line <= lines && place.column > 0));
                }
            }
        }
    }
}
