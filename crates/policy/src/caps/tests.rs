use super::*;
use crate::samples::target;
use inshore_domain::{Measure, TargetId, Tier};
use proptest::prelude::*;

fn cap(window: Window) -> Cap {
    Cap {
        id: "monthly".into(),
        measure: Measure::Money,
        window,
        limit: 1_001,
        warn_percent: Some(80),
        app: Covers::All,
        user: Covers::All,
        organisation: Covers::All,
        feature: Covers::All,
        target: Covers::All,
    }
}

fn who(app: &str, user: Option<&str>) -> Principal {
    Principal { app: app.into(), user: user.map(str::to_owned), organisation: None }
}

fn claimed(cap: &Cap, principal: &Principal, feature: Option<&str>) -> Option<Claim> {
    let target = target("openai/big", Tier::Cloud);
    claimed_at(cap, principal, feature, &target)
}

fn claimed_at(cap: &Cap, principal: &Principal, feature: Option<&str>, target: &Target) -> Option<Claim> {
    let receipt = (ReceiptId::new(Timestamp::from_unix_millis(5), 7), Timestamp::from_unix_millis(5));
    let at = Timestamp::from_unix_millis(1_700_000_000_000);
    claims(std::slice::from_ref(cap), principal, feature, target, at, receipt).pop()
}

fn subject(cap: &Cap, principal: &Principal, feature: Option<&str>) -> String {
    claimed(cap, principal, feature).expect("covered").subject
}

#[test]
fn a_cap_on_one_name_covers_no_other() {
    let only = Cap { user: Covers::Only("anna".into()), ..cap(Window::Day) };
    assert!(claimed(&only, &who("mail", Some("anna")), None).is_some());
    assert!(claimed(&only, &who("mail", Some("ann")), None).is_none());
    assert!(claimed(&only, &who("mail", None), None).is_none());
    let target = Cap { target: Covers::Only("openai/big".into()), ..cap(Window::Day) };
    assert!(claimed(&target, &who("mail", None), None).is_some());
}

#[test]
fn a_cap_on_a_target_covers_its_endpoints_together() {
    let at = |region: &str| Target {
        endpoint_of: Some(TargetId("openai/big".into())),
        ..target(&format!("openai/big@{region}"), Tier::Cloud)
    };
    let subject = |target: Covers, place: &Target| {
        let cap = Cap { target, ..cap(Window::Day) };
        claimed_at(&cap, &who("mail", None), None, place).map(|claim| claim.subject)
    };
    let (eu, us) = (at("eu"), at("us"));
    for endpoint in [&eu, &us] {
        assert_eq!(subject(Covers::Only("openai/big".into()), endpoint), Some(String::new()));
        assert_eq!(subject(Covers::Each, endpoint).as_deref(), Some(r#"target="openai/big""#));
        assert_eq!(subject(Covers::Only("openai/bi".into()), endpoint), None);
    }
    assert_eq!(subject(Covers::Only("openai/big@eu".into()), &eu), Some(String::new()));
    assert_eq!(subject(Covers::Only("openai/big@eu".into()), &us), None);
}

#[test]
fn counters_are_kept_for_the_names_that_are_counted_by_themselves() {
    let each = Cap { app: Covers::Each, user: Covers::Each, feature: Covers::Each, ..cap(Window::Day) };
    let found = subject(&each, &who("mail", Some("anna")), None);
    assert_eq!(found, r#"app="mail" user="anna" feature=none"#);
    assert_eq!(subject(&cap(Window::Day), &who("mail", Some("anna")), Some("chat")), "");
    // `none` is also a name.
    assert_ne!(found, subject(&each, &who("mail", Some("anna")), Some("none")));
    let request = subject(&cap(Window::Request), &who("mail", None), None);
    assert!(request.starts_with("request=\"rcpt_"), "{request}");
}

#[test]
fn a_claim_carries_what_the_cap_says() {
    let claim = claimed(&cap(Window::Month), &who("mail", None), None).expect("covered");
    assert_eq!((claim.limit, claim.warn_at), (1_001, Some(801)));
    // 2023-11-01 to 2023-12-01.
    assert_eq!(claim.since.unix_secs(), 1_698_796_800);
    assert_eq!(claim.renews.map(|renews| renews.unix_secs()), Some(1_701_388_800));
    let request = claimed(&cap(Window::Request), &who("mail", None), None).expect("covered");
    assert_eq!((request.since.unix_millis(), request.renews), (5, None));
    assert_eq!(warn_at(u64::MAX, 255), u64::MAX);
}

#[test]
fn dates_are_those_of_a_table() {
    // Seconds from `date -u -d DATE +%s`.
    for (date, seconds) in [
        ((1970, 1, 1), 0),
        ((1972, 2, 29), 68_169_600),
        ((1999, 12, 31), 946_598_400),
        ((2000, 2, 29), 951_782_400),
        ((2000, 3, 1), 951_868_800),
        ((2023, 2, 28), 1_677_542_400),
        ((2024, 2, 29), 1_709_164_800),
        ((2024, 12, 31), 1_735_603_200),
        ((2038, 1, 19), 2_147_472_000),
        ((2100, 2, 28), 4_107_456_000),
        ((2100, 3, 1), 4_107_542_400),
        ((2400, 2, 29), 13_574_563_200),
    ] {
        assert_eq!(civil_from_days(seconds / 86_400), date);
        assert_eq!(seconds % 86_400, 0, "{date:?}");
    }
}

#[test]
fn months_are_as_long_as_in_a_calendar() {
    let common = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let leap = |year: u64| matches!(year, 1972 | 1996 | 2000 | 2004 | 2024 | 2028 | 2096);
    let mut day = 0;
    for year in 1970..2101 {
        for (index, length) in common.into_iter().enumerate() {
            let leaps = year % 4 == 0 && year != 2100;
            assert!(!leap(year) || leaps, "{year}");
            let length = if leaps && index == 1 { 29 } else { length };
            let (since, renews) = month(day + 14);
            assert_eq!((since, renews), (day * DAY, Some((day + length) * DAY)), "{year}-{}", index + 1);
            day += length;
        }
    }
}

fn any_window() -> impl Strategy<Value = Window> {
    prop_oneof![Just(Window::Hour), Just(Window::Day), Just(Window::Month)]
}

fn bounds(kind: Window, millis: u64) -> (u64, Option<u64>) {
    let (since, renews) = window(kind, Timestamp::from_unix_millis(millis), Timestamp::default());
    (since.unix_millis(), renews.map(Timestamp::unix_millis))
}

proptest! {
    #[test]
    fn a_window_holds_its_moment(kind in any_window(), millis in any::<u64>()) {
        let (since, renews) = bounds(kind, millis);
        prop_assert!(since <= millis);
        prop_assert!(renews.is_none_or(|renews| millis < renews));
        prop_assert!(renews.is_some() || u64::MAX - since < 31 * DAY);
    }

    #[test]
    fn windows_follow_each_other_without_a_gap(kind in any_window(), millis in 0..u64::MAX / 2) {
        let (since, renews) = bounds(kind, millis);
        let renews = renews.unwrap();
        prop_assert_eq!(bounds(kind, renews).0, renews);
        prop_assert_eq!(bounds(kind, renews - 1), (since, Some(renews)));
        prop_assert_eq!(bounds(kind, since), (since, Some(renews)));
    }

    #[test]
    fn no_two_lists_of_names_share_a_counter(
        a in proptest::array::uniform2(proptest::option::of(r#"[a"\\ =ne]{0,6}"#)),
        b in proptest::array::uniform2(proptest::option::of(r#"[a"\\ =ne]{0,6}"#)),
    ) {
        let each = Cap { user: Covers::Each, feature: Covers::Each, ..cap(Window::Day) };
        let of = |names: &[Option<String>; 2]| subject(&each, &who("mail", names[0].as_deref()), names[1].as_deref());
        prop_assert_eq!(of(&a) == of(&b), a == b);
    }
}
