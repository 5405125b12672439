use serde_json::{Map, Value, json};
use stream_supervisor::RequestId;

use super::*;

fn act(what: &str) -> Act {
    let details = json!({ "name": "alice" });
    let details = details.as_object().cloned().unwrap_or_default();
    let who = Who::Account { name: "bob".to_owned(), token: "t1".to_owned() };
    Act { who, what: what.to_owned(), session: None, details }
}

fn started(dir: &Path) -> (AuditLog, Config) {
    let sealing_key = dir.join("sealing.key");
    stream_pki::write_new(&sealing_key, "k".repeat(64).as_bytes(), 0o600).expect("written");
    let config = Config { file: Some(dir.join("log")), max_mib: 1 };
    (AuditLog::start(&config, "unit", &sealing_key).expect("a log"), config)
}

fn lines(config: &Config) -> Vec<Map<String, Value>> {
    let text = std::fs::read_to_string(config.file.as_ref().expect("a file")).expect("read");
    text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
}

#[tokio::test]
async fn an_act_is_in_the_file_before_it_is_done_and_what_came_of_it_after() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, config) = started(dir.path());
    let id = RequestId::of_sender(Some("r1"), None);
    let begun = RequestId::scope(id, log.begin(act("account.create"))).await.expect("written");
    let line = &lines(&config)[1];
    assert_eq!(line["what"], "account.create");
    assert_eq!(line["who"], json!({ "account": { "name": "bob", "token": "t1" } }));
    assert_eq!((&line["details"], &line["request"]), (&json!({ "name": "alice" }), &json!("r1")));

    begun.end(Err("there is one")).await;
    let line = &lines(&config)[2];
    assert_eq!((&line["of"], &line["done"]), (&json!(2), &json!(false)));
    assert_eq!((&line["what"], &line["why"]), (&json!("account.create"), &json!("there is one")));

    log.note_step("unit", "s1", "session.boot", "it runs", true);
    assert_eq!(log.head().await.expect("a last line").seq, 4);
    let line = &lines(&config)[3];
    assert_eq!((&line["session"], line.get("done")), (&json!("s1"), None));
}

#[tokio::test]
async fn without_a_file_nothing_is_written_and_nothing_refused() {
    let log = AuditLog::start(&Config::default(), "unit", Path::new("/none")).expect("none");
    log.begin(act("account.create")).await.expect("it goes through").end(Ok(())).await;
    log.note(act("session.create"));
    assert_eq!(log.head().await, None);
}

#[tokio::test]
async fn what_cannot_be_written_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _) = started(dir.path());
    let Some(thread) = &log.0 else { panic!("there is one") };
    // As if a disk hung: nobody takes the orders any more.
    let (orders, _queue) = std::sync::mpsc::sync_channel(1);
    let stuck = AuditLog(Some(thread.with_orders(orders)));
    stuck.note(act("session.create"));
    let refused = stuck.begin(act("account.create")).await.err().expect("refused");
    assert_eq!(refused.code, RefusalCode::Unavailable);
    assert!(refused.message.contains("the audit log cannot be written"), "{}", refused.message);
}
