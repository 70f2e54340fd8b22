use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(answer: &str, expected: Option<(Final, Place)>) {
    assert_eq!(final_answer(answer), expected, "{answer}");
}

fn number(value: f64) -> Final {
    Final::Number(value)
}

fn text(text: &str) -> Final {
    Final::Text(text.into())
}

#[test]
fn marks_of_benchmarks_and_of_people() {
    check("3 + 4 = 7\n#### 7", Some((number(7.0), Place::Marked)));
    check("so #### 1,250\n\n", Some((number(1250.0), Place::Marked)));
    check("thus \\boxed{\\frac{3}{4}}.", Some((number(0.75), Place::Marked)));
    check("first \\boxed{1}, no: \\boxed{x^{2}}", Some((text("x^{2}"), Place::Marked)));
    check("We add.\nThe answer is $18. She sells them.", Some((number(18.0), Place::Marked)));
    check("**Answer:** -$10,000 dollars", Some((number(-10_000.0), Place::Marked)));
    check("Because of that, the answer is (C) a dog.", Some((Final::Letter('C'), Place::Marked)));
}

#[test]
fn json_is_looked_into() {
    check(
        "```json\n{\"reasoning\": \"2 of 3\", \"answer\": \"$18\"}\n```",
        Some((number(18.0), Place::Field)),
    );
    check("{\"answer\": 70000}", Some((number(70_000.0), Place::Field)));
    check(
        "{\"reasoning\": \"a \"quoted\" word\", \"answer\": \"B\"",
        Some((Final::Letter('B'), Place::Field)),
    );
    check(
        "The final answer is:\n```json\n{\"answer\": \"5\"}\n```\nOr \"answer\": \"6\"",
        Some((number(5.0), Place::Field)),
    );
    check("{\"reasoning\": \"two\nlines\", \"answer\": 12\n}", Some((number(12.0), Place::Field)));
    assert_eq!(as_json("```json\n{\"a\": 1}\n```"), (true, true));
    assert_eq!(as_json("{\"a\": 1} and so on"), (true, false));
    assert_eq!(as_json("so {\"a\": 1}"), (false, false));
    let order = |text| final_answer(text).unwrap().0;
    assert_eq!(order("{\"a\": 1, \"b\": [2]}"), order("{ \"b\": [2], \"a\": 1 }"));
    assert_ne!(order("{\"a\": 1}"), order("{\"a\": 2}"));
}

#[test]
fn short_answers_are_final_and_prose_is_not() {
    check("B", Some((Final::Letter('B'), Place::Whole)));
    check("(b)", Some((Final::Letter('B'), Place::Whole)));
    check("D. 120", Some((Final::Letter('D'), Place::Whole)));
    check("a", Some((text("a"), Place::Whole)));
    check("5/4", Some((number(1.25), Place::Whole)));
    check("x = 70%", Some((number(70.0), Place::Whole)));
    check("  Paris. ", Some((text("paris"), Place::Whole)));
    check("It takes 3 bolts of fibre.", Some((text("it takes 3 bolts of fibre"), Place::Whole)));
    check(
        "First 16 - 3 = 13.\nThen there are 9 left, and she sells all of them",
        Some((number(9.0), Place::LastNumber)),
    );
    check("", None);
    check(&"long prose without any figure ".repeat(9), None);
}

#[test]
fn answers_are_counted_by_what_they_come_down_to() {
    let agreement = Agreement::of("…\n#### 18", &["$18", "18.00", "17"]);
    assert_eq!(agreement, Agreement { others: 3, same: 2, rival: 1 });
    assert!(agreement.confirmed_by(2) && !agreement.confirmed_by(3));
    assert_eq!(Agreement::of("", &["", "5", "5"]), Agreement { others: 3, same: 0, rival: 2 });
    assert_eq!(Agreement::of("5", &[]), Agreement::default());
}

proptest! {
    #[test]
    fn any_text_has_an_answer_or_none(text in "\\PC{0,200}", mark in prop::sample::select(vec!["", "####", "\\boxed{", "answer is ", "{\"answer\":"])) {
        let text = format!("{text}{mark}{text}");
        let found = final_answer(&text);
        prop_assert_eq!(&found, &final_answer(&text));
        let agreement = Agreement::of(&text, &[&text, &text]);
        prop_assert_eq!(agreement.same, if found.is_some() { 2 } else { 0 });
    }

    #[test]
    fn a_number_is_itself_in_every_dress(value in 0..1_000_000_u32) {
        let plain = final_answer(&value.to_string()).unwrap().0;
        for dressed in [format!("${value}"), format!("{value}.00"), format!("#### {value}"), format!("The answer is {value} dollars.")] {
            prop_assert_eq!(&final_answer(&dressed).unwrap().0, &plain);
        }
    }
}
