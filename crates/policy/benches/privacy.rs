//! Precision, recall and speed of the detector on labelled sets, and what it finds in prose where there is nothing to find, as the tables
//! of docs/benchmarks.md.
//!
//! `INSHORE_EVAL_DATA` is the folder with `presidio-research/synth_dataset_v2.json` and `pii-anon-eval/*.jsonl.gz`; further arguments
//! are files of prose.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a program for the terminal that cannot begin without its data"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use inshore_domain::{Finding, Sensitivity};
use inshore_policy::sensitivity::Detector;
use serde_json::Value;

/// Labels of the sets, and the kinds that count as the right answer.
const LABELS: &[(&str, &[&str])] = &[
    ("EMAIL_ADDRESS", &["email"]),
    ("PHONE_NUMBER", &["phone"]),
    ("CREDIT_CARD", &["payment-card"]),
    ("IBAN_CODE", &["iban"]),
    ("IP_ADDRESS", &["ip-address"]),
    ("MAC_ADDRESS", &["mac-address"]),
    ("US_SSN", &["national-id", "tax-number"]),
    ("SOCIAL_SECURITY_NUMBER", &["national-id", "tax-number"]),
    ("US_DRIVER_LICENSE", &["driving-licence"]),
    ("DATE_OF_BIRTH", &["date-of-birth"]),
    ("MEDICAL_RECORD_NUMBER", &["medical-record"]),
    ("TAX_ID", &["tax-number"]),
    ("BANK_ACCOUNT_NUMBER", &["bank-account"]),
    ("API_KEY", &["api-key"]),
    ("PASSWORD", &["password"]),
    ("PERSON", &["person"]),
    ("PERSON_NAME", &["person"]),
    ("STREET_ADDRESS", &["address"]),
    ("ORGANIZATION", &["organisation"]),
    ("ORGANIZATION_NAME", &["organisation"]),
];

struct Document {
    text: String,
    /// Label, and where in bytes.
    spans: Vec<(String, std::ops::Range<usize>)>,
}

#[derive(Default)]
struct Score {
    labelled: usize,
    met: usize,
    full: usize,
    found: usize,
    right: usize,
}

fn document(text: &str, spans: &[Value], keys: [&str; 3]) -> Document {
    // The sets count in characters.
    let mut places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    places.push(text.len());
    let number = |span: &Value, key: &str| {
        let at = span
            .get(key)
            .and_then(Value::as_u64)
            .and_then(|at| usize::try_from(at).ok())
            .expect("a position");
        places.get(at).copied().unwrap_or(text.len())
    };
    let [label, start, end] = keys;
    let one = |span: &Value| {
        let label = span.get(label).and_then(Value::as_str).expect("a label").to_owned();
        (label, number(span, start)..number(span, end))
    };
    Document { text: text.to_owned(), spans: spans.iter().map(one).collect() }
}

fn read(folder: &Path) -> Vec<(&'static str, Vec<Document>)> {
    let synth =
        std::fs::read_to_string(folder.join("presidio-research/synth_dataset_v2.json")).expect("the set");
    let synth: Vec<Value> = serde_json::from_str(&synth).expect("JSON");
    let list =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).expect("a text").to_owned();
    let synth = synth
        .iter()
        .map(|one| {
            document(
                &text(one, "full_text"),
                &list(one, "spans"),
                ["entity_type", "start_position", "end_position"],
            )
        })
        .collect();
    let lines = |name: &str| {
        let path = folder.join("pii-anon-eval").join(name);
        let output = Command::new("gzip").arg("-dc").arg(path).output().expect("gzip").stdout;
        let lines = String::from_utf8(output).expect("UTF-8");
        let one = |line: &str| {
            let value: Value = serde_json::from_str(line).expect("JSON");
            document(&text(&value, "text"), &list(&value, "annotations"), ["entity_type", "start", "end"])
        };
        lines.lines().map(one).collect()
    };
    vec![
        ("synth_dataset_v2", synth),
        ("technology", lines("test_technology.jsonl.gz")),
        ("format_variations", lines("format_variations.jsonl.gz")),
    ]
}

fn covered(document: &Document, span: &std::ops::Range<usize>, findings: &[&Finding]) -> bool {
    let text = document.text.get(span.clone()).unwrap_or_default();
    text.char_indices()
        .filter(|(_, character)| character.is_alphanumeric())
        .all(|(at, _)| findings.iter().any(|finding| finding.span.contains(&(span.start + at))))
}

fn score(documents: &[Document]) -> (BTreeMap<&'static str, Score>, f64) {
    let detector = Detector::default();
    let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
    let (mut took, mut bytes) = (Duration::ZERO, 0);
    for document in documents {
        let begin = Instant::now();
        let findings = detector.find(&document.text);
        took += begin.elapsed();
        bytes += document.text.len();
        for (label, kinds) in LABELS {
            let spans: Vec<_> = document.spans.iter().filter(|(other, _)| other == label).collect();
            let of_kind: Vec<&Finding> =
                findings.iter().filter(|finding| kinds.contains(&finding.kind)).collect();
            let meet = |span: &std::ops::Range<usize>, finding: &Finding| {
                finding.span.start < span.end && span.start < finding.span.end
            };
            let score = scores.entry(label).or_default();
            score.labelled += spans.len();
            score.met +=
                spans.iter().filter(|(_, span)| of_kind.iter().any(|finding| meet(span, finding))).count();
            score.full += spans.iter().filter(|(_, span)| covered(document, span, &of_kind)).count();
            score.found += of_kind.len();
            score.right +=
                of_kind.iter().filter(|finding| spans.iter().any(|(_, span)| meet(span, finding))).count();
        }
    }
    (scores, took.as_secs_f64() * 1e6 / (bytes as f64 / 1024.0))
}

/// What is found in prose, for each MB, and how many pieces of 2 KB become confidential.
fn prose(path: &str) {
    let detector = Detector::default();
    let text = std::fs::read_to_string(path).expect("a file of prose");
    let (mut kinds, mut pieces, mut raised) = (BTreeMap::<&str, usize>::new(), 0, 0);
    let mut rest = text.as_str();
    let begin = Instant::now();
    while !rest.is_empty() {
        let mut cut = rest.len().min(2048);
        while !rest.is_char_boundary(cut) {
            cut += 1;
        }
        let (piece, after) = rest.split_at(cut);
        let findings = detector.find(piece);
        pieces += 1;
        let level = detector.label(&findings);
        if level >= Sensitivity::Confidential {
            raised += 1;
            for finding in findings
                .iter()
                .filter(|finding| detector.label(std::slice::from_ref(finding)) == level)
                .take(1)
            {
                let line = piece
                    .get(finding.span.start.saturating_sub(40)..)
                    .or(piece.get(finding.span.start..))
                    .unwrap_or_default();
                println!("<!-- {}: {:?} -->", finding.kind, line.chars().take(100).collect::<String>());
            }
        }
        for finding in findings {
            *kinds.entry(finding.kind).or_default() += 1;
        }
        rest = after;
    }
    let megabytes = text.len() as f64 / 1e6;
    let speed = begin.elapsed().as_secs_f64() * 1e6 / (text.len() as f64 / 1024.0);
    let name = Path::new(path).file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    println!(
        "\n{name}: {megabytes:.2} MB, {speed:.1} µs/KB; {raised} of {pieces} pieces of 2 KB become confidential or more; found for each MB:"
    );
    for (kind, count) in kinds {
        println!("  {kind} {:.1}", count as f64 / megabytes);
    }
}

fn main() {
    #[expect(clippy::disallowed_methods, reason = "a bench is a program of its own")]
    let folder = std::env::var("INSHORE_EVAL_DATA");
    let Ok(folder) = folder else {
        println!("INSHORE_EVAL_DATA names no folder: nothing to measure");
        return;
    };
    println!("| set | label | labelled | precision | recall | full |\n|---|---|--:|--:|--:|--:|");
    let mut speeds = Vec::new();
    for (set, documents) in read(Path::new(&folder)) {
        let (scores, speed) = score(&documents);
        speeds.push(format!("{set} {speed:.1} µs/KB"));
        for (label, score) in scores.iter().filter(|(_, score)| score.labelled > 0) {
            let share = |part: usize, of: usize| {
                if of == 0 { "—".to_owned() } else { format!("{:.3}", part as f64 / of as f64) }
            };
            let (precision, recall) = (share(score.right, score.found), share(score.met, score.labelled));
            println!(
                "| {set} | {label} | {} | {precision} | {recall} | {} |",
                score.labelled,
                share(score.full, score.labelled)
            );
        }
    }
    println!("\n{}", speeds.join(", "));
    for path in std::env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
        prose(&path);
    }
}
