//! Answers from the model in the box, and their receipts.

use std::io::Read;

use serde_json::json;

use crate::home::{Home, kill};

#[test]
fn a_sentence_is_finished_and_its_receipt_says_where() {
    let home = Home::new();
    let done = home.run(["complete", "--temperature", "0", "We thank you for your letter of"]).good();
    assert!(done.out.starts_with("We thank you for your letter of"), "{}", done.out);
    assert!(done.out.trim_end().len() > "We thank you for your letter of".len(), "nothing was added");
    assert!(
        done.err.contains("device · inshore-default · ")
            && done.err.contains("0 bytes left this device · rcpt_"),
        "{}",
        done.err
    );

    let receipt = home.last_receipt();
    assert_eq!(receipt["tier"], "device");
    assert_eq!(receipt["bytes_out"], 0);
    assert_eq!(receipt["egress"], json!([]));
    assert_eq!(receipt["target"], "device/inshore-default");
    assert_eq!(receipt["feature"], "complete");
    assert_eq!(receipt["app"], "inshore");
    let by_id = home.run(["receipt", receipt["id"].as_str().unwrap()]).good();
    assert!(by_id.out.contains("0 (nothing left this device)"), "{}", by_id.out);
    assert_eq!(home.run(["receipt", "--list"]).good().out.lines().count(), 2);
    // To its end, so that every token is counted.
    home.run(["complete", "--whole", "--max-tokens", "6", "Dear"]).good();
    let receipt = home.last_receipt();
    assert_eq!(receipt["outcome"]["kind"], "answered");
    assert!(receipt["usage"]["output_tokens"].as_u64().unwrap() > 0);
    assert_eq!(home.run(["receipt", "rcpt_00000000000000000000000000"]).code, Some(1));
    assert_eq!(home.run(["receipt", "nonsense"]).code, Some(2));
}

#[test]
fn the_same_seed_gives_the_same_text() {
    let home = Home::new();
    let complete = || {
        home.run(["complete", "--json", "--seed", "7", "--max-tokens", "12", "--whole", "Dear Sir,"])
            .good()
            .json()["text"]
            .clone()
    };
    let first = complete();
    assert_eq!(complete(), first);
}

#[test]
fn a_question_is_warned_about_and_text_is_read_from_stdin() {
    let home = Home::new();
    let done = home.run_with(["ask", "--max-tokens", "8", "What does this say?"], "Dear Sir").good();
    assert!(
        done.err.contains("cannot answer questions") && done.err.contains("inshore model pull hf:"),
        "{}",
        done.err
    );
    let done = home.run_with(["complete"], "We have received your\n").good();
    assert!(done.out.starts_with("We have received your"), "{}", done.out);
    assert_eq!(home.run(["complete", " "]).code, Some(2));
}

#[test]
fn a_chat_reads_lines_until_they_end() {
    let home = Home::new();
    let done = home.run_with(["chat"], "/help\n/system Be brief.\nHello\n/nonsense\n/exit\n").good();
    assert!(done.err.contains("/clear") && done.err.contains("`/nonsense` is not a command"), "{}", done.err);
    assert!(done.err.contains("device · inshore-default"), "{}", done.err);
}

#[test]
fn a_killed_engine_child_is_an_error_for_its_caller_only() {
    let home = Home::new();
    home.run(["complete", "--max-tokens", "1", "Dear"]).good();
    let pid = home.engine_pid();
    // Many answers that never end by themselves, so that they are still under way when the child is killed.
    let body = json!({"model": "device", "prompt": "Dear Sir", "n": 8, "max_tokens": 400, "ignore_eos": true, "stream": true});
    let mut stream = home.post("/v1/completions", &body);
    let mut answer = Vec::new();
    let mut piece = [0; 512];
    while !String::from_utf8_lossy(&answer).contains("data:") {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..count]);
    }
    kill(pid);
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("\"error\""), "the caller was not told: {answer}");
    assert!(!answer.contains("[DONE]"), "{answer}");

    home.run(["complete", "--max-tokens", "4", "Dear"]).good();
    assert_ne!(home.engine_pid(), pid);
    let receipts = home.run(["receipt", "--list", "3", "--json"]).good().json();
    assert_eq!(receipts[0]["outcome"]["kind"], "answered");
    assert_eq!(receipts[1]["outcome"]["kind"], "failed", "{receipts}");
}
