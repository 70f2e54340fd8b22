use super::*;
use std::collections::BTreeSet;

fn paths() -> Paths {
    Paths::find(&Environment::of([("INSHORE_HOME", "/nowhere/at-all")])).unwrap()
}

fn home() -> Environment {
    Environment::of([("HOME", "/home/me")])
}

fn check(text: &str) -> Result<Loaded, Problems> {
    check_file(Path::new("config.toml"), text, &home())
}

fn problem(text: &str) -> String {
    check(text).map(|loaded| loaded.config).unwrap_err().to_string()
}

/// The sample with its examples switched on: an example line begins with `#` and no space.
fn sample_with_examples() -> String {
    let example = |line: &str| {
        line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' ')).map(str::to_owned)
    };
    SAMPLE.lines().map(|line| example(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

#[test]
fn the_sample_says_what_is_built_in() {
    let sample = check(SAMPLE).unwrap();
    let built_in = check("").unwrap();
    assert_eq!(sample.config, built_in.config);
    for (path, setting) in &sample.settings.plain {
        assert!(matches!(setting.origin, Origin::File(..)), "`{path}` is not in the sample");
        assert_eq!(setting.value, built_in.settings.plain[path].value, "`{path}`");
    }
}

#[test]
fn the_sample_documents_every_key() {
    let sample = check(&sample_with_examples()).unwrap_or_else(|problems| panic!("{problems}"));
    for (section, known) in keys::NAMED {
        let names = sample.settings.names(section);
        let said: BTreeSet<&str> =
            names.flat_map(|(_, entries)| entries.keys().map(String::as_str)).collect();
        assert_eq!(said, known.iter().copied().collect(), "`{section}`");
    }
    for (section, known) in keys::LISTED {
        let entries = sample.settings.list(section).iter();
        let said: BTreeSet<&str> =
            entries.flat_map(|entry| entry.entries.keys().map(String::as_str)).collect();
        assert_eq!(said, known.iter().copied().collect(), "`{section}`");
    }
    assert_eq!(sample.config.targets.len(), 5);
    assert_eq!(
        sample.config.targets[0].permitted_up_to, None,
        "an example must not permit anything in the cloud"
    );
    // Each key has a sentence above it, or shares one with its neighbours.
    let lines: Vec<&str> = SAMPLE.lines().collect();
    for (i, line) in
        lines.iter().enumerate().filter(|(_, line)| line.contains(" = ") && !line.starts_with("# "))
    {
        let before = lines[..i].iter().rev().find(|line| line.starts_with("# ") || line.starts_with('['));
        assert!(before.is_some_and(|line| line.starts_with("# ")), "nothing is said about `{line}`");
    }
}

#[test]
fn every_key_is_read_by_somebody() {
    let loaded = check(&sample_with_examples()).unwrap();
    let mut problems = Problems::default();
    let mut reader = Reader::new(&loaded.settings, Some("/home/me".into()), &mut problems);
    config(&mut reader);
    for (path, _) in keys::PLAIN {
        assert!(reader.asked.contains(path), "nobody reads `{path}`");
    }
    for (section, name, known) in [
        ("models", "qwen3-4b", &keys::MODEL[..]),
        ("groups", "premium", &keys::GROUP[..]),
        ("features", "faq", &keys::FEATURE[..]),
    ] {
        for key in known {
            assert!(
                reader.asked.contains(&format!("{section}.{name}.{key}")),
                "nobody reads `{section}.*.{key}`"
            );
        }
    }
    for (section, known) in keys::LISTED {
        for key in known {
            assert!(reader.asked.contains(&format!("{section}.{key}")), "nobody reads `{section}.{key}`");
        }
    }
}

#[test]
fn unknown_keys_are_refused_with_place_and_nearest() {
    insta::assert_snapshot!(problem("[server]\n\nlisten_on = \"127.0.0.1:1\"\n"), @r"
    config.toml:3: unknown key `server.listen_on`
      hint: the nearest known key is `server.listen`
    ");
    insta::assert_snapshot!(problem("[engin]\nthreads = 2\n"), @r"
    config.toml:1: unknown section `engin`
      hint: the nearest known section is `engine`
    ");
    insta::assert_snapshot!(problem("[models.mine]\nkeepalive = \"1m\"\n"), @r"
    config.toml:2: unknown key `models.mine.keepalive`
      hint: the nearest known key is `models.mine.keep_alive`
    ");
    insta::assert_snapshot!(problem("[[targets]]\nid = \"a\"\ntier = \"edge\"\nbase_url = \"http://a/v1\"\nmodel = \"m\"\nprize = 3\n"), @r"
    config.toml:6: unknown key `targets.prize`
      hint: the nearest known key is `targets.price`
    ");
    insta::assert_snapshot!(problem("[log]\nzzzzzzzz = 1\n"), @r"
    config.toml:2: unknown key `log.zzzzzzzz`
      hint: `inshore config sample` lists every key
    ");
}

#[test]
fn wrong_values_say_what_is_right() {
    insta::assert_snapshot!(problem("[engine]\nthreads = 0\nkeep_alive = \"soon\"\nkv_type = \"q4\"\n[server]\nlisten = \"0.0.0.0:80\"\n"), @r#"
    config.toml:6: `0.0.0.0` is not a loopback address
      hint: Inshore serves this machine only: use 127.0.0.1 or [::1]
    config.toml:2: `engine.threads` must be a whole number from 1 to 1024, not `0`
    config.toml:3: `engine.keep_alive` must be a duration such as "250ms", "30s" or "5m", not `soon`
    config.toml:4: `engine.kv_type` must be one of "f16", "q8_0", not `q4`
    "#);
    insta::assert_snapshot!(problem("[engine]\nthreads = = 2\n").lines().next().unwrap(), @"config.toml:2: not valid TOML: extra `=`, expected nothing");
    insta::assert_snapshot!(problem("engine = 2\n"), @r"
    config.toml:1: `engine` is a section
      hint: begin it with `[engine]`
    ");
    insta::assert_snapshot!(problem("[models]\ndir = \"models\"\n"), @r"
    config.toml:2: `models` is not an absolute path
      hint: begin it with `/` or `~/`
    ");
}

const TARGET: &str =
    "[[targets]]\nid = \"a\"\ntier = \"cloud\"\nbase_url = \"https://a.test/v1\"\nmodel = \"m\"\n";

#[test]
fn a_key_in_the_file_is_refused_and_not_repeated() {
    let message = problem(&format!("{TARGET}key = \"sk-very-secret\"\n"));
    assert!(message.starts_with("config.toml:6: a key may not be written in the config file\n"), "{message}");
    assert!(!message.contains("very-secret"));
}

#[test]
fn targets_are_closed_unless_opened() {
    let config = check(TARGET).unwrap().config;
    assert_eq!(config.targets[0].permitted_up_to, None);
    assert_eq!(config.targets[0].price, None);
    let config = check(&format!("{TARGET}permit = true\nfree = true\n")).unwrap().config;
    assert_eq!(config.targets[0].permitted_up_to, Some(inshore_domain::Sensitivity::Internal));
    assert_eq!(config.targets[0].price.unwrap().output, 0);
    let message = problem(&format!("{TARGET}permit = true\nmax_sensitivity = \"restricted\"\n"));
    assert!(message.contains("never leaves the device"), "{message}");
    assert!(problem(&format!("{TARGET}{TARGET}")).contains("two targets with the id `a`"));
    assert!(problem("[[targets]]\nid = \"a\"\n").contains("this target has no `base_url`"));
}

const ENDPOINTS: &str = "[[targets]]\nid = \"a\"\ntier = \"cloud\"\nmodel = \"m\"\naliases = [\"b\"]\npermit = true\nfree = true\n\
                         key = { env = \"ONE\" }\nendpoints = [\n{ base_url = \"https://eu.test/v1\", region = \"eu\" },\n\
                         { base_url = \"https://us.test/v1\", region = \"us\", key = { keyring = \"two\" } },\n]\n";

#[test]
fn each_endpoint_is_a_target_that_differs_only_in_its_place() {
    let targets = check(ENDPOINTS).unwrap().config.targets;
    let [eu, us] = &targets[..] else { panic!("{targets:?}") };
    assert_eq!((eu.id.as_str(), us.id.as_str()), ("a@eu", "a@us"));
    assert_eq!((&eu.base_url[..], eu.region.as_deref()), ("https://eu.test/v1", Some("eu")));
    assert_eq!(eu.key, Some(KeySource::Environment("ONE".into())));
    assert_eq!(us.key, Some(KeySource::Keyring("two".into())));
    let place = |target: &RemoteTarget| RemoteTarget {
        id: String::new(),
        base_url: String::new(),
        region: None,
        key: None,
        ..target.clone()
    };
    assert_eq!(place(eu), place(us));
    assert_eq!(eu.endpoint_of.as_deref(), Some("a"));
}

#[test]
fn endpoints_that_say_too_little_or_too_much_are_refused() {
    let wrong = |from: &str, to: &str| {
        assert!(ENDPOINTS.contains(from), "{from}");
        problem(&ENDPOINTS.replacen(from, to, 1))
    };
    assert!(wrong("region = \"us\"", "region = \"eu\"").contains("two endpoints in the region `eu`"));
    assert!(wrong(", region = \"eu\"", "").contains("config.toml:9: this endpoint has no `region`"));
    assert!(wrong("base_url = \"https://eu.test/v1\", ", "").contains("has no `base_url`"));
    assert!(wrong("region", "place").contains("an endpoint has no `place`"));
    assert!(wrong("https://eu", "ftp://eu").contains("`ftp://eu.test/v1` is not an address"));
    assert!(wrong("permit", "region = \"eu\"\npermit").contains("said by each of the `endpoints`"));
    assert!(
        wrong("{ keyring = \"two\" }", "\"sk-secret\"").contains("may not be written in the config file")
    );
    assert!(problem(&format!("{TARGET}endpoints = []\n")).contains("1 to 16 endpoints"));
    let twice = format!("{ENDPOINTS}{}", TARGET.replace("\"a\"", "\"a@eu\""));
    assert!(problem(&twice).contains("two targets with the id `a@eu`"));
    let tls = ENDPOINTS.replace("https://us", "http://us") + "ca = \"/ca.pem\"\n";
    assert!(problem(&tls).contains("config.toml:9: certificates are of no use"));
}

#[test]
fn requests_for_vectors_are_joined_only_when_asked_for() {
    let batch = |more: &str| check(&format!("{TARGET}{more}")).unwrap().config.targets[0].batch;
    assert_eq!(batch(""), None);
    assert_eq!(batch("batch_window = \"0\"\nbatch_inputs = 8\n"), None);
    let joined = batch("batch_window = \"5ms\"\n").unwrap();
    assert_eq!((joined.window.as_millis(), joined.inputs, joined.across_apps), (5, 64, false));
    assert!(problem(&format!("{TARGET}batch_window = \"1s\"\n")).contains("100 ms at most"));
    assert!(problem(&format!("{TARGET}batch_inputs = 101\n")).contains("from 2 to 100"));
}

#[test]
fn only_machines_of_ones_own_are_probed_unasked() {
    let probe = |text: &str| check(text).unwrap().config.targets[0].probe.map(|interval| interval.as_secs());
    assert_eq!(probe(TARGET), None);
    assert_eq!(probe(&format!("{TARGET}probe_interval = \"5m\"\n")), Some(300));
    let edge = TARGET.replace("cloud", "edge");
    assert_eq!(probe(&edge), Some(60));
    assert_eq!(probe(&format!("{edge}probe_interval = \"0\"\n")), None);
    assert!(problem(&format!("{edge}probe_interval = \"1s\"\n")).contains("5 s at least"));
}

#[test]
fn a_well_known_model_has_the_price_that_is_listed_unless_the_config_says_another() {
    let known =
        TARGET.replace("https://a.test/v1", "https://api.openai.com/v1").replace("\"m\"", "\"gpt-5-mini\"");
    let target = |more: &str| check(&format!("{known}{more}")).unwrap().config.targets.remove(0);
    let listed = target("");
    let price = listed.price.unwrap();
    assert_eq!((price.input, price.cached_input, price.output), (250_000, 25_000, 2_000_000));
    assert!(price.as_of.is_some());
    assert_eq!((listed.context_window, listed.max_output), (272_000, Some(128_000)));
    assert!(listed.capabilities.has(inshore_domain::Capability::Vision));

    let own = target(
        "price = { input = \"1\", output = \"2\" }\ncontext_window = 1000\nmax_output = 10\ncapabilities = [\"chat\"]\n",
    );
    assert_eq!((own.price.unwrap().input, own.price.unwrap().as_of), (1_000_000, None));
    assert_eq!((own.context_window, own.max_output), (1000, Some(10)));
    assert!(!own.capabilities.has(inshore_domain::Capability::Vision));
    assert_eq!(target("free = true\n").price.unwrap().output, 0);
    // The same model elsewhere costs something else.
    let elsewhere = known.replace("api.openai.com", "gateway.example");
    assert_eq!(check(&elsewhere).unwrap().config.targets[0].price, None);
}

#[test]
fn certificates_come_in_pairs_and_only_with_tls() {
    let config = check(&format!(
        "{TARGET}ca = \"/ca.pem\"\nclient_certificate = \"/c.pem\"\nclient_key = \"~/c.key\"\n"
    ));
    let certificates = config.unwrap().config.targets.remove(0).certificates;
    assert_eq!(certificates.authority, Some("/ca.pem".into()));
    assert_eq!(certificates.client, Some(("/c.pem".into(), "/home/me/c.key".into())));
    let half = problem(&format!("{TARGET}client_key = \"/c.key\"\n"));
    assert_eq!(half.trim(), "config.toml:6: `client_key` needs `client_certificate` beside it");
    let plain = TARGET.replace("https://", "http://");
    assert!(problem(&format!("{plain}ca = \"/ca.pem\"\n")).contains("of no use at an address of `http://`"));
}

#[test]
fn the_network_is_metered_as_the_config_says_or_the_system() {
    let metered = |text: &str| check(text).unwrap().config.machine.metered;
    assert_eq!(metered(""), None);
    assert_eq!(metered("[machine]\nmetered = true\n"), Some(true));
    assert_eq!(metered("[machine]\nmetered = false\n"), Some(false));
    let wrong = problem("[machine]\nmetered = \"yes\"\n");
    assert_eq!(wrong.trim(), "config.toml:2: `machine.metered` must be true or false, not `yes`");
}

#[test]
fn prices_are_exact() {
    let config = check(&format!("{TARGET}price = {{ input = \"0.25\", output = \"2\" }}\n")).unwrap().config;
    let price = config.targets[0].price.unwrap();
    assert_eq!((price.input, price.cached_input, price.output), (250_000, 250_000, 2_000_000));
    assert!(problem(&format!("{TARGET}price = {{ input = 0.25, output = 2.0 }}\n")).contains("in quotes"));
}

#[test]
fn later_layers_win_and_origins_are_kept() {
    let paths = paths();
    let environment = Environment::of([
        ("INSHORE_ENGINE__THREADS", "3"),
        ("INSHORE_SERVER__LISTEN", "127.0.0.1:1"),
        ("INSHORE_HOME", "/x"),
    ]);
    let sets = [
        "engine.threads=4".to_owned(),
        "models.a.b-7.context=512".to_owned(),
        "models.default=a.b-7".to_owned(),
    ];
    let loaded = load(&Sources { paths: &paths, environment: &environment, sets: &sets }).unwrap();
    assert_eq!(loaded.config.engine.threads, Some(4));
    assert_eq!(loaded.config.server.listen.port(), 1);
    assert_eq!(loaded.config.models.overrides["a.b-7"].context, Some(512));
    assert_eq!(loaded.config.models.default, "a.b-7");
    assert_eq!(loaded.settings.plain["engine.threads"].origin.to_string(), "--set engine.threads");
    assert_eq!(
        loaded.settings.plain["server.listen"].origin.to_string(),
        "environment variable INSHORE_SERVER__LISTEN"
    );
    assert_eq!(loaded.settings.plain["engine.batch"].origin, Origin::BuiltIn);
}

#[test]
fn wrong_variables_and_flags_are_refused() {
    let paths = paths();
    let environment = Environment::of([("INSHORE_SERVER__LISTENN", "x")]);
    let sets = ["engine.thread=4".to_owned(), "nonsense".to_owned()];
    let problems = load(&Sources { paths: &paths, environment: &environment, sets: &sets }).unwrap_err();
    insta::assert_snapshot!(problems.to_string(), @r"
    environment variable INSHORE_SERVER__LISTENN: unknown key `server.listenn`
      hint: the nearest known key is `server.listen`
    --set engine.thread: unknown key `engine.thread`
      hint: the nearest known key is `engine.threads`
    --set: `nonsense` is not of the form `section.key=value`
    ");
}

#[test]
fn a_later_file_replaces_a_target_whole() {
    let mut settings = Settings::built_in();
    let mut problems = Problems::default();
    layers::merge_text(
        &mut settings,
        Path::new("system.toml"),
        &format!("{TARGET}permit = true\nfree = true\n"),
        &mut problems,
    );
    layers::merge_text(&mut settings, Path::new("user.toml"), TARGET, &mut problems);
    let loaded = finish(settings, Vec::new(), &home(), problems).unwrap();
    assert_eq!(loaded.config.targets.len(), 1);
    assert_eq!(loaded.config.targets[0].permitted_up_to, None, "the user's entry permits nothing");
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_config_or_problems(text in "[\\[\\]a-z0-9_.=\"\n{}, -]{0,200}") {
        let _ = check(&text);
    }
}
