//! Advice before anything is sent, and the config that comes of it.

use serde_json::Value;

use crate::home::Home;

const PLAN: &str = "[features.code-refactor]\nper_day = 20\nprompt_tokens = 4000\nanswer_tokens = 1000\n\
                    [features.\"my notes\"]\nsensitivity = \"restricted\"\nprofile = \"async\"\nneeds = [\"completion\"]\nprompt_tokens = 100\nanswer_tokens = 50\n";

fn plan(home: &Home, text: &str) -> String {
    let path = home.path().join("plan.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn placement<'a>(advice: &'a Value, feature: &str, placement: &str) -> &'a Value {
    let features = advice["features"].as_array().unwrap();
    let feature = features.iter().find(|it| it["feature"] == feature).unwrap();
    feature["placements"].as_array().unwrap().iter().find(|it| it["placement"] == placement).unwrap()
}

#[test]
fn placements_are_compared_without_a_daemon_and_without_a_target() {
    let home = Home::new();
    let plan = plan(&home, PLAN);
    let advice = home.run(["advise", &plan, "--cloud", "gpt-5-mini", "--json"]).good().json();
    let cloud = placement(&advice, "code-refactor", "cloud");
    // 600 requests of 4,000 tokens at 0.25 and 1,000 at 2.00 dollars a million.
    assert_eq!(cloud["cost_a_month"]["micros"], 600 * (1_000 + 2_000));
    assert_eq!((&cloud["configured"], &cloud["fit"]), (&false.into(), &"meets".into()));
    assert_eq!(cloud["first_token"]["basis"], "assumed");
    assert_eq!(placement(&advice, "code-refactor", "edge")["reasons"][0]["code"], "no_target");
    // The model in the box finishes sentences, in a window of 512 tokens.
    let device = placement(&advice, "code-refactor", "device");
    assert_eq!(
        (&device["reasons"][0]["code"], &device["bytes_out_a_month"]),
        (&"context_too_small".into(), &0.into())
    );
    assert_eq!(placement(&advice, "my notes", "cloud")["reasons"][0]["code"], "too_sensitive");
    let features = advice["features"].as_array().unwrap();
    let recommended: Vec<&Value> = features.iter().map(|feature| &feature["recommended"]).collect();
    assert_eq!(recommended, ["cloud", "device"], "{advice}");
    assert!(!home.path().join("state/daemon.json").exists(), "nothing was started");

    let shown = home.run(["advise", &plan, "--edge", "40"]).good().out;
    assert!(shown.contains("No cloud target is configured"), "{shown}");
    assert!(shown.contains("inshore model pull"), "{shown}");
    assert!(shown.contains("[features.\"my notes\"]\n"), "{shown}");
    assert!(!home.path().join("config.toml").exists(), "nothing was written");
}

#[test]
fn what_is_recommended_is_written_and_in_force() {
    let home = Home::new();
    let own = "# mine\n[[targets]]\nid = \"cloud/m\"\ntier = \"cloud\"\nbase_url = \"https://cloud.test/v1\"\nmodel = \"m\"\n\
               permit = true\nquality = 80\nprice = { input = \"1\", output = \"4\" }   # dear\n";
    home.config(own);
    let plan = plan(&home, PLAN);
    let config = home.path().join("config.toml");
    let written = home.run(["advise", &plan, "--write", "--json"]).good().json();
    assert_eq!(written["written"], true);
    let section = written["features"][0]["section"].as_str().unwrap();
    let first = std::fs::read_to_string(&config).unwrap();
    assert!(first.starts_with(own) && first.contains(section), "{first}");
    home.run(["config", "check"]).good();
    let values = home.run(["config", "show", "--json"]).good().json();
    assert_eq!(values["features.my notes.stays_here"]["value"], true);
    assert_eq!(written["features"][0]["runs_on_as_configured"][0], "cloud/m");

    let refused = home.run(["advise", &plan, "--write"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("there is a section `[features.code-refactor]` already"), "{}", refused.err);
    assert!(refused.err.contains("`--replace`"), "{}", refused.err);
    assert!(refused.out.contains("Recommended: cloud"), "the advice is shown all the same");
    assert_eq!(std::fs::read_to_string(&config).unwrap(), first);
    home.run(["advise", &plan, "--write", "--replace"]).good();
    assert_eq!(std::fs::read_to_string(&config).unwrap(), first, "the same advice changes nothing");
}

#[test]
fn what_cannot_be_advised_says_why() {
    let home = Home::new();
    let done = home.run(["advise"]);
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("there is no plan, and no terminal to ask on"), "{}", done.err);
    assert!(done.err.contains("inshore advise plan.toml"), "{}", done.err);
    let wrong = plan(&home, "[features.chat]\nprompt_token = 3\n");
    let done = home.run(["advise", &wrong]);
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("plan.toml:2: unknown key `features.chat.prompt_token`"), "{}", done.err);
    assert!(done.err.contains("the nearest known key is `features.chat.prompt_tokens`"), "{}", done.err);
    let fine = plan(&home, PLAN);
    let done = home.run(["advise", &fine, "--cloud", "gpt-5-minni"]);
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("the nearest known model is `gpt-5-mini`"), "{}", done.err);
    assert_eq!(home.run(["advise", &fine, "--replace"]).code, Some(2), "nothing is to be written");
}

#[test]
fn what_was_measured_is_told_as_such() {
    let home = Home::new();
    let _daemon = home.serve();
    // Whole ones: an answer that the command leaves at the end of its sentence may count as cancelled, and measures nothing.
    for _ in 0..5 {
        home.run(["complete", "--whole", "--max-tokens", "8", "Thank you for your letter of"]).good();
    }
    let feature = home.last_receipt()["feature"].as_str().unwrap().to_owned();
    let plan = plan(&home, &format!("[features.{feature}]\nneeds = [\"completion\"]\n"));
    let advice = home.run(["advise", &plan, "--json"]).good().json();
    let device = placement(&advice, &feature, "device");
    assert_eq!(device["first_token"]["basis"], "measured", "{advice}");
    assert_eq!(placement(&advice, &feature, "cloud")["first_token"]["basis"], "assumed");
}
