//! Policies and caps, as people write and meet them.

use inshore_sim::openai::{Options, Server};
use inshore_sim::{Fault, Turn};

use crate::home::Home;

const TARGET: &str = "tier = \"cloud\"\nmodel = \"m\"\npermit = true\nkey = { env = \"SIM_KEY\" }\n\
                      price = { currency = \"USD\", input = \"1.00\", output = \"4.00\" }\n";

async fn provider_of(turn: Turn) -> Server {
    let options =
        Options { models: vec!["m".to_owned()], key: Some("sk-test".to_owned()), ..Options::default() };
    Server::start(options, turn).await.unwrap()
}

async fn provider() -> Server {
    provider_of(Turn::text("Hello from the cloud")).await
}

/// Runs a command in a home whose daemon knows the provider's key.
fn ask(home: &Home, model: &str) -> (bool, String) {
    let output = home.command(["ask", "--model", model, "Hello"]).env("SIM_KEY", "sk-test").output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_holds_and_the_spending_is_told() {
    let server = provider().await;
    let base_url = server.base_url();
    tokio::task::spawn_blocking(move || {
        let home = Home::new();
        home.config(&format!(
            "[[targets]]\nid = \"cloud/m\"\nbase_url = \"{base_url}\"\n{TARGET}\
             [[caps]]\nid = \"two-a-day\"\nlimit = \"2 calls\"\nper = \"day\"\n"
        ));
        for _ in 0..2 {
            let (good, err) = ask(&home, "cloud");
            assert!(good, "{err}");
        }
        let paid = home.last_receipt();
        assert!(paid["cost"]["micros"].as_u64().unwrap() > 0);
        let (good, err) = ask(&home, "cloud");
        assert!(!good && err.contains("the cap `two-a-day`"), "{err}");
        let (good, err) = ask(&home, "auto");
        assert!(good, "the device goes on: {err}");

        let spent = home.run(["spend", "--by", "target", "--json"]).good().json();
        let row =
            spent["rows"].as_array().unwrap().iter().find(|row| row["key"] == "cloud/m").unwrap().clone();
        assert_eq!(row["requests"], 2);
        assert_eq!(row["cost"]["micros"].as_u64().unwrap(), 2 * paid["cost"]["micros"].as_u64().unwrap());
        assert_eq!(row["in_doubt"]["micros"], 0);
        let csv = home.run(["spend", "--by", "target", "--csv"]).good().out;
        assert!(csv.contains("\r\n\"cloud/m\",2,"), "{csv}");
        let what_if = home.run(["spend", "what-if", "--without", "cloud/m", "--json"]).good().json();
        assert_eq!(what_if["requests"], 2);
        home.run(["spend"]).good();

        let decided = home.run(["decide", "--model", "cloud", "--json", "Hello"]).good().json();
        assert_eq!(decided["targets"].as_array().unwrap().last().unwrap()["excluded"], "over_cap");
    })
    .await
    .unwrap();
    assert_eq!(server.stats().carried_out, 2, "what does not fit is not sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_answer_is_lost_is_in_doubt_until_somebody_says_what_it_cost() {
    let server = provider_of(Turn::text("never heard").with_fault(Fault::ResponseLost)).await;
    let base_url = server.base_url();
    tokio::task::spawn_blocking(move || {
        let home = Home::new();
        home.config(&format!("[[targets]]\nid = \"cloud/m\"\nbase_url = \"{base_url}\"\n{TARGET}"));
        assert!(!ask(&home, "cloud").0);
        let receipt = home.last_receipt();
        assert_eq!(receipt["cost"]["micros"], 0);
        assert!(receipt["in_doubt"]["micros"].as_u64().unwrap() > 0);
        let doubts = home.run(["spend", "doubts", "--json"]).good().json();
        let reservation = doubts["doubts"][0]["reservation"].as_str().unwrap().to_owned();
        assert_eq!(doubts["doubts"][0]["receipt"], receipt["id"]);
        home.run(["spend", "reconcile", &reservation, "--cost", "0.000018"]).good();
        assert!(home.run(["spend", "doubts"]).good().out.contains("No call is in doubt"));
        let spent = home.run(["spend", "--by", "target", "--json"]).good().json();
        let settled: u64 =
            spent["rows"].as_array().unwrap().iter().map(|row| row["cost"]["micros"].as_u64().unwrap()).sum();
        assert_eq!(settled, 18);
        let again = home.run(["spend", "reconcile", &reservation, "--cost", "0"]);
        assert_eq!(again.code, Some(1));
        assert!(again.err.contains("inshore spend doubts"), "{}", again.err);
    })
    .await
    .unwrap();
    assert_eq!(server.stats().carried_out, 1, "what may have been paid is not sent again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_file_is_checked_tested_and_read_again_when_it_changes() {
    let server = provider().await;
    let base_url = server.base_url();
    tokio::task::spawn_blocking(move || {
        let home = Home::new();
        let policies = home.path().join("mine.cedar");
        let forbid = |feature: &str| {
            format!(
                "@id(\"no-{feature}\")\n@reason(\"{feature} stays here\")\nforbid (principal, action, resource)\n\
                 when {{ context has feature && context.feature == \"{feature}\" }}\nunless {{ resource in Tier::\"device\" }};\n"
            )
        };
        std::fs::write(&policies, forbid("mail")).unwrap();
        home.config(&format!(
            "[policy]\nfile = \"{}\"\n[[targets]]\nid = \"cloud/m\"\nbase_url = \"{base_url}\"\n{TARGET}",
            policies.display()
        ));
        let checked = home.run(["policy", "check"]).good().out;
        assert!(checked.contains("no-mail"), "{checked}");

        let wrong = home.path().join("wrong.cedar");
        std::fs::write(&wrong, "permit (principal, action, resource)\nwhen { resource.teir == \"cloud\" };\n").unwrap();
        let refused = home.run(["policy", "check", wrong.to_str().unwrap()]);
        assert_eq!(refused.code, Some(2));
        assert!(refused.err.contains("line 2") && refused.err.contains("tier"), "{}", refused.err);

        let cases = home.path().join("cases.toml");
        let case = |expect: &str| {
            format!("[[case]]\nname = \"mail\"\nfacts = {{ model = \"cloud\", feature = \"mail\" }}\nexpect = \"{expect}\"\n")
        };
        std::fs::write(&cases, case("deny")).unwrap();
        home.run(["policy", "test", cases.to_str().unwrap()]).good();
        std::fs::write(&cases, case("cloud")).unwrap();
        let failed = home.run(["policy", "test", cases.to_str().unwrap()]);
        assert_eq!(failed.code, Some(1));
        assert!(failed.out.contains("mail stays here"), "{}", failed.out);

        let cloud_for = |feature: &str| {
            let mut decide = home.command(["decide", "--model", "cloud", "--feature", feature, "--json", "Hello"]);
            let output = decide.env("SIM_KEY", "sk-test").output().unwrap();
            let decided: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            !decided["steps"].as_array().unwrap().is_empty()
        };
        assert!(!cloud_for("mail") && cloud_for("notes"));
        // A file with a mistake changes nothing; the next good one does. Each question takes some milliseconds.
        std::fs::write(&policies, "forbid").unwrap();
        assert!((0..200).all(|_| !cloud_for("mail")));
        let made = home.run(["token", "create", "editor"]).good();
        assert!(!made.err.contains("did not learn"), "models and tokens do not wait for the policies: {}", made.err);
        std::fs::write(&policies, forbid("notes")).unwrap();
        assert!((0..3000).any(|_| cloud_for("mail") && !cloud_for("notes")), "the new policies are not in force");
    })
    .await
    .unwrap();
    assert_eq!(server.stats().requests, 0);
}

#[test]
fn a_policy_may_ask_whether_the_network_is_metered() {
    let home = Home::new();
    let policy = home.path().join("own.cedar");
    std::fs::write(
        &policy,
        "@id(\"costs\") @reason(\"the network is paid by the byte\")\n\
         forbid (principal, action, resource in Tier::\"edge\") when { context has metered && context.metered };\n",
    )
    .unwrap();
    let config = |metered: &str| {
        format!(
            "[[targets]]\nid = \"studio\"\ntier = \"edge\"\nbase_url = \"http://127.0.0.1:9/v1\"\nmodel = \"m\"\nfree = true\n\
             permit = true\n[policy]\nfile = \"{}\"\n[machine]\nkeep_warm = \"off\"\n{metered}",
            policy.display()
        )
    };
    for (metered, expected) in [("metered = true\n", "forbidden"), ("metered = false\n", "")] {
        home.config(&config(metered));
        let served = home.serve();
        let decided = home.run(["decide", "--model", "studio", "--json", "Hello"]).good().json();
        let found = decided["targets"].as_array().unwrap().iter().find(|target| target["target"] == "studio");
        assert_eq!(found.unwrap()["excluded"].as_str().unwrap_or_default(), expected, "{decided}");
        let shown = home.run(["decide", "Hello"]).good().out;
        assert_eq!(shown.contains("metered"), metered.contains("true"), "{shown}");
        home.run(["stop"]).good();
        assert!(served.ended_well());
    }
}
