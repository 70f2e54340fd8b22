//! Remote targets: closed unless the config opens them, and every byte in the receipt.

use inshore_sim::Turn;
use inshore_sim::openai::{Options, Server};

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
