//! Remote targets: closed unless the config opens them, and every byte in the receipt.

use std::io::Read;

use inshore_sim::Turn;
use inshore_sim::openai::{Options, Server};

use serde_json::json;

use crate::home::Home;

fn config(base_url: &str, permit: bool) -> String {
    format!(
        "[[targets]]\nid = \"studio\"\ntier = \"edge\"\nbase_url = \"{base_url}\"\nmodel = \"m\"\nfree = true\npermit = {permit}\n\
         key = {{ env = \"STUDIO_KEY\" }}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_to_a_target_until_the_config_permits_it() {
    let options =
        Options { models: vec!["m".to_owned()], key: Some("sk-test".to_owned()), ..Options::default() };
    let server = Server::start(options, Turn::text("Hello from the edge")).await.unwrap();
    let base_url = server.base_url();
    let closed = base_url.clone();
    tokio::task::spawn_blocking(move || {
        let home = Home::new();
        home.config(&config(&closed, false));
        let done = home.run(["ask", "--model", "studio", "Hello"]);
        assert_ne!(done.code, Some(0));
        assert!(done.err.contains("permit"), "{}", done.err);
    })
    .await
    .unwrap();
    assert_eq!(server.stats().accepted, 0, "a target that is not permitted was called");

    tokio::task::spawn_blocking(move || {
        let home = Home::new();
        home.config(&config(&base_url, true));
        // Without its key the target is left out, and the device goes on working.
        assert_ne!(home.run(["ask", "--model", "studio", "Hello"]).code, Some(0));
        home.run(["complete", "--max-tokens", "2", "Dear"]).good();
        let decided = home.run(["decide", "--json", "Hello"]).good().json();
        assert_eq!(decided["steps"][0], "device/inshore-default");
        let last = home.last_receipt();
        home.run(["decide", "--sensitivity", "restricted", "Hello"]).good();
        assert_eq!(home.last_receipt(), last, "deciding runs nothing");
        assert!(home.run(["doctor", "--json"]).out.contains("`STUDIO_KEY`"));
        home.run(["stop"]).good();
        let mut ask = home.command(["ask", "--model", "studio", "Hello"]);
        let output = ask.env("STUDIO_KEY", "sk-test").output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "Hello from the edge", "{err}");
        let receipt = home.last_receipt();
        assert_eq!(receipt["tier"], "edge");
        assert!(receipt["bytes_out"].as_u64().unwrap() > 0);
        assert!(!receipt.to_string().contains("sk-test"));
        let status = home.run(["status", "--json"]).good().json();
        let targets = status["targets"].as_array().unwrap();
        let studio = targets.iter().find(|target| target["id"] == "studio").unwrap();
        assert_eq!(studio["pace"]["answers"], 1);
        assert!(studio["pace"]["first_token_us"]["p50"].as_u64() > Some(0), "{studio}");
        assert!(home.run(["status"]).good().out.contains("FIRST TOKEN"));
        let restricted = home.run(["ask", "--model", "studio", "--sensitivity", "restricted", "Hello"]);
        assert_ne!(restricted.code, Some(0));
        assert_eq!(home.last_receipt()["bytes_out"], 0);
    })
    .await
    .unwrap();
    assert!(server.stats().accepted > 0);
}

/// Asks the target `big` through the API: the receipt of what came.
fn asked(home: &Home, feature: &str) -> serde_json::Value {
    let body = json!({
        "model": "big", "messages": [{"role": "user", "content": "Hello"}], "metadata": {"inshore_feature": feature}
    });
    let mut answer = String::new();
    home.post("/v1/chat/completions", &body).read_to_string(&mut answer).unwrap();
    home.last_receipt()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_with_two_endpoints_is_asked_where_the_region_says_and_goes_on_when_one_is_down() {
    let start = || async {
        let options = Options { models: vec!["m".to_owned()], key: None, ..Options::default() };
        Server::start(options, Turn::text("Hello")).await.unwrap()
    };
    let (eu, us) = (start().await, start().await);
    let config = format!(
        "[[targets]]\nid = \"big\"\ntier = \"edge\"\nmodel = \"m\"\nfree = true\npermit = true\nprobe_interval = \"0\"\n\
         endpoints = [\n{{ base_url = \"{}\", region = \"eu\" }},\n{{ base_url = \"{}\", region = \"us\" }},\n]\n\
         [features.american]\nregions = [\"us\"]\n[[caps]]\nid = \"four\"\nlimit = \"4 calls\"\nper = \"day\"\n\
         target = \"big\"\n",
        eu.base_url(),
        us.base_url()
    );
    let (home, served) = tokio::task::spawn_blocking(move || {
        let home = Home::new();
        home.config(&config);
        let served = home.serve();
        let first = asked(&home, "anywhere");
        assert_eq!(first["target"], "big@eu", "{first}");
        assert_eq!(asked(&home, "american")["target"], "big@us");
        let decided = home.run(["decide", "--model", "big", "--feature", "american", "--json", "Hello"]);
        let decided = decided.good().json();
        assert_eq!(decided["steps"], json!(["big@us"]));
        let status = home.run(["status"]).good().out;
        assert!(status.contains("big@eu") && status.contains("big@us"), "{status}");
        (home, served)
    })
    .await
    .unwrap();
    eu.http().shutdown().await;
    assert_eq!((eu.stats().carried_out, us.stats().carried_out), (1, 1));
    tokio::task::spawn_blocking(move || {
        for _ in 0..2 {
            let receipt = asked(&home, "anywhere");
            assert_eq!(receipt["target"], "big@us", "{receipt}");
        }
        let refused = asked(&home, "anywhere");
        assert!(refused.to_string().contains("the cap `four` has 0 calls left"), "{refused}");
        home.run(["stop"]).good();
        assert!(served.ended_well());
    })
    .await
    .unwrap();
    assert_eq!(us.stats().carried_out, 3, "what the cap does not leave room for is not sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_start_a_connection_lies_ready_where_calls_were_made_lately_and_only_there() {
    let start = || async {
        let options = Options { models: vec!["m".to_owned()], key: None, ..Options::default() };
        Server::start(options, Turn::text("Hello")).await.unwrap()
    };
    let (used, unused, closed) = (start().await, start().await, start().await);
    let target = |id: &str, server: &Server, permit: bool| {
        let base_url = server.base_url();
        format!(
            "[[targets]]\nid = \"{id}\"\ntier = \"edge\"\nmodel = \"m\"\nfree = true\npermit = {permit}\nprobe_interval = \"0\"\n\
             base_url = \"{base_url}\"\n"
        )
    };
    let config =
        [target("big", &used, true), target("other", &unused, true), target("no", &closed, false)].concat();
    let all = format!("{config}[machine]\nkeep_warm = \"all\"\n");
    let (home, served) = tokio::task::spawn_blocking(move || {
        let home = Home::new();
        home.config(&config);
        let first = home.serve();
        assert_eq!(asked(&home, "chat")["target"], "big");
        home.run(["stop"]).good();
        assert!(first.ended_well());
        let second = home.serve();
        (home, second)
    })
    .await
    .unwrap();
    used.http().wait(|stats| stats.accepted == 2).await;
    assert_eq!((used.stats().requests, unused.stats().accepted), (1, 0));
    let (home, served) = tokio::task::spawn_blocking(move || {
        home.run(["stop"]).good();
        assert!(served.ended_well());
        home.config(&all);
        let third = home.serve();
        (home, third)
    })
    .await
    .unwrap();
    used.http().wait(|stats| stats.accepted == 3).await;
    unused.http().wait(|stats| stats.accepted == 1).await;
    assert_eq!((used.stats().requests, unused.stats().requests, closed.stats().accepted), (1, 0, 0));
    tokio::task::spawn_blocking(move || {
        home.run(["stop"]).good();
        assert!(served.ended_well());
    })
    .await
    .unwrap();
}
