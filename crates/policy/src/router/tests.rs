use inshore_domain::{Currency, Money};
use proptest::prelude::*;

use super::*;

fn pair() -> Pair {
    Pair { device: TargetId("device/small".into()), cloud: TargetId("cloud/large".into()) }
}

fn signals(prompt: &str, answer: &str, others: &[&str]) -> Signals {
    Signals::read(
        Prompt { text: prompt, ..Prompt::default() },
        Some(Answer { others, ..Answer::text(answer) }),
    )
}

/// Labels of sums: answers that two of two others confirm are right but for one in `wrong_one_in`, those that none confirms are wrong.
fn labels(count: u32, wrong_one_in: u32) -> Vec<Label> {
    let label = |i: u32| {
        let confirmed = i % 7 > 1;
        let other = (i + u32::from(!confirmed)).to_string();
        let answer = format!("{i} + 0 = {i}\n#### {i}");
        Label {
            signals: signals(&format!("How much is {i} and nothing?"), &answer, &[&other, &other]),
            outcome: Outcome::Compared { device: confirmed && i % wrong_one_in != 1, cloud: true },
            spared: Some(Money { micros: 10, currency: Currency::USD }),
        }
    };
    (0..count).map(label).collect()
}

fn risk(error: f64) -> Risk {
    Risk::new(error, 0.95).unwrap()
}

#[test]
fn too_few_labels_escalate_and_say_how_many_are_needed() {
    let mut router = Router::default();
    let asked = signals("How much is 1 and nothing?", "#### 1", &["1", "1"]);
    let judgement = router.judge(Family::Math, &pair(), &asked);
    assert!(!judgement.accepts());
    assert_eq!(judgement.reason.to_string(), "there are 0 labels to judge it by");

    router.set(Family::Math, pair(), Cell::learn(&labels(60, 1_000), risk(0.05)));
    let judgement = router.judge(Family::Math, &pair(), &asked);
    assert_eq!(judgement.reason, Reason::FewLabels { labels: 60, needed: Some(74) });
    assert_eq!(judgement.reason.to_string(), "there are 60 labels, and at least 74 are needed to judge it");
    assert_eq!(
        router.judge(Family::Code, &pair(), &asked).reason,
        Reason::FewLabels { labels: 0, needed: None }
    );
}

#[test]
fn what_labels_allow_is_kept_and_the_rest_escalates() {
    for (count, trained) in [(300, false), (800, true)] {
        let cell = Cell::learn(&labels(count, 1_000), risk(0.05));
        let [good, bad] = ["9", "8"].map(|other| {
            cell.judge(&signals("How much is 9 and nothing?", "9 + 0 = 9\n#### 9", &[other, other]))
        });
        assert!(good.accepts(), "{count}: {}", good.reason);
        assert!(matches!(bad.reason, Reason::OverRisk { .. }), "{count}: {}", bad.reason);
        assert_eq!(good.model.is_some(), trained);
    }
}

#[test]
fn enough_labels_that_are_errors_keep_nothing_and_say_so() {
    let cell = Cell::learn(&labels(800, 3), risk(0.02));
    let judgement = cell.judge(&signals("How much is 7 and nothing?", "#### 7", &["7", "7"]));
    assert_eq!(judgement.reason, Reason::NotShown { labels: 800 });
}

#[test]
fn an_answer_that_failed_is_never_kept() {
    let mut labels = labels(800, 1_000);
    labels.iter_mut().for_each(|label| label.outcome = Outcome::Verified(true));
    let cell = Cell::learn(&labels, risk(0.05));
    assert!(cell.judge(&signals("How much is 7 and nothing?", "#### 7", &["7", "7"])).accepts());
    assert_eq!(cell.judge(&signals("How much is 7 and nothing?", "", &["7", "7"])).reason, Reason::Failed);
    let answer = Answer { check: Some(false), ..Answer::text("#### 7") };
    assert_eq!(cell.judge(&Signals::read(Prompt::default(), Some(answer))).reason, Reason::Failed);
}

#[test]
fn learning_again_gives_the_same_cell() {
    let labels = labels(500, 9);
    assert_eq!(Cell::learn(&labels, risk(0.05)), Cell::learn(&labels, risk(0.05)));
}

#[test]
fn only_the_newest_labels_count() {
    let many: Vec<Label> = labels(4, 9)
        .into_iter()
        .cycle()
        .take(MOST_LABELS + 4)
        .map(|label| Label { spared: None, ..label })
        .collect();
    assert_eq!(Cell::learn(&many, risk(0.05)).labels() as usize, MOST_LABELS);
}

#[test]
fn the_report_says_what_was_kept_and_what_it_spared() {
    let report = Cell::learn(&labels(800, 1_000), risk(0.05)).report();
    assert_eq!((report.labels, report.tested.compared), (800, 533));
    assert_eq!(report.curve.iter().map(|bin| bin.errors.of).sum::<u32>(), 533);
    assert!(report.curve.is_sorted_by(|a, b| a.expected <= b.expected));
    assert!(report.kept.low < report.kept.value() && report.kept.value() < report.kept.high);
    assert!(report.errors.high <= 0.1 && report.as_good.value() >= 0.95);
    let spared = i64::from(report.kept.hits) * 10;
    assert_eq!(report.spared, Some(Money { micros: spared, currency: Currency::USD }));
    let few = Cell::learn(&labels(50, 1_000), risk(0.05)).report();
    assert_eq!((few.model, few.curve.len(), few.kept.hits, few.spared), (None, 0, 0, None));
}

#[test]
fn outcomes_are_errors_only_where_the_cloud_would_have_been_right() {
    assert!(Outcome::Compared { device: false, cloud: true }.error());
    assert!(!Outcome::Compared { device: false, cloud: false }.error(), "nothing was lost by not asking");
    assert!(Outcome::Compared { device: true, cloud: false }.win());
    assert!(Outcome::Retried.error() && Outcome::Rated(false).error() && Outcome::Verified(false).error());
    assert!(!Outcome::Rated(true).error() && !Outcome::Verified(true).win());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn more_errors_among_tested_labels_never_keep_more(which in proptest::collection::vec(0..300_usize, 1..20)) {
        // Labels at multiples of five make the order of thresholds, the others test them.
        let before = labels(300, 1_000);
        let mut after = before.clone();
        for at in which.into_iter().filter(|at| at % 5 != 0) {
            after[at].outcome = Outcome::Retried;
        }
        let kept = |labels: &[Label]| match Cell::learn(labels, risk(0.05)).threshold() {
            Threshold::Accept(most) => most,
            Threshold::Escalate { .. } => -1.0,
        };
        prop_assert!(kept(&after) <= kept(&before));
    }
}
