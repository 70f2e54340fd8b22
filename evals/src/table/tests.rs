use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn written(name: &str, text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    (folder, file)
}

fn table(header: &str, row: &str) -> String {
    format!("{header}\n{}", format!("{row}\n").repeat(FEWEST_ROWS))
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let (_folder, file) = written("t.csv", text);
    let error = format!("{:#}", read(&file, &Columns::default()).unwrap_err());
    assert!(error.contains(expected), "{error}");
}

#[test]
fn the_table_of_this_repository_is_read() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tables/errands.csv");
    let set = read(&file, &Columns::default()).unwrap();
    assert_eq!((set.name.as_str(), set.rows.len()), ("errands", 40));
    let call = set.rows.iter().find(|row| row.tools).unwrap();
    assert_eq!(
        (call.family, call.finish, call.check),
        (Family::ToolCall, Some(FinishReason::ToolCalls), Some(true))
    );
    assert_eq!(call.others.len(), 2);
    assert_eq!(call.logprobs.len(), 3);
    assert_eq!(call.spared, Some(Money { micros: 1_200, currency: Currency::USD }));
    assert_eq!(set.views().len(), 4);
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let good = table("prompt,device_ok,cloud_ok", "a,1,0");
    check("", "no column `prompt`");
    check("prompt,device_ok\n", "no column `cloud_ok`");
    check("prompt,device_ok,cloud_ok\na,1,1\n", "has 1 rows, and five folds need 20");
    check(&format!("{good}a,maybe,1\n"), "line 22 of");
    check(&format!("{good}a,maybe,1\n"), "the outcome of the device: `maybe` is neither 1 nor 0");
    check(&format!("{good}a,1\n"), "is not CSV");
    let with = |column: &str, field: &str| {
        table(&format!("prompt,device_ok,cloud_ok,{column}"), &format!("a,1,0,{field}"))
    };
    check(&with("family", "poetry"), "line 2 of");
    check(&with("family", "poetry"), "`poetry` is no task family");
    check(&with("finish", "bored"), "`bored` is no finish reason");
    check(&with("logprobs", "-1 x"), "`x` is no log-probability");
    check(&with("cloud_cost", "free"), "`free` is no amount");
    check(&with("check", "perhaps"), "column `check`: `perhaps`");
    let missing = read(Path::new("none.csv"), &Columns::default()).unwrap_err();
    assert!(format!("{missing:#}").starts_with("`none.csv` cannot be opened"));
}

#[test]
fn columns_may_be_called_by_models_and_the_file_packed() {
    let text = table("question,ok:small,ok:large,ans:small,ans:tiny", "1 + 1?,1,0,2,3");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wide.csv.gz");
    let mut packed = GzEncoder::new(File::create(&file).unwrap(), Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap();
    let columns = Columns {
        device: Some("small".into()),
        cloud: Some("large".into()),
        others: vec!["tiny".into()],
        family: Some(Family::Math),
    };
    let set = read(&file, &columns).unwrap();
    let row = &set.rows[0];
    assert_eq!((row.device_right, row.cloud_right, row.family), (true, false, Family::Math));
    assert_eq!((row.answer.as_deref(), row.others.as_slice()), (Some("2"), &["3".to_owned()][..]));
    assert_eq!((set.device.as_str(), set.cloud.as_str()), ("small", "large"));
    let columns = Columns { others: vec!["gone".into()], ..columns };
    let error = format!("{:#}", read(&file, &columns).unwrap_err());
    assert!(error.contains("no column `ans:gone` or `gone_response` or `gone_answer`"), "{error}");
}
