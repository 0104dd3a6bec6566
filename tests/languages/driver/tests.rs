//! How the scenarios of `tests/languages` are read and compared. `tests/languages/run` plays them.

use super::scenario::{Names, Scenario, Step};
use super::words::{decode, encode};
use std::path::Path;

#[test]
fn words_stand_for_bytes() {
    assert_eq!(decode("a%00b%FF"), b"a\0b\xff");
    assert_eq!(encode(b"a\0b\xff"), "a%00b%FF");
    assert_eq!((decode("%"), encode(b"")), (Vec::new(), "%".into()));
    assert_eq!(encode(&decode("@1000:7")), encode(&decode("@1000:7")));
    assert_ne!(encode(&decode("@1000:7")), encode(&decode("@1000:8")));
}

#[test]
fn a_file_becomes_steps() {
    let text = "# About something.\nin cluster\n\na> put $p/k v\na< ok $r\n! kill a\n";
    let scenario = Scenario::parse("it".into(), text).expect("a scenario");
    assert_eq!(scenario.kind.as_deref(), Some("cluster"));
    assert_eq!(scenario.steps[0], (4, Step::Send('a', "put $p/k v".into())));
    assert_eq!(scenario.steps[1], (5, Step::Expect('a', "ok $r".into())));
    assert_eq!(scenario.steps[2], (6, Step::Do(vec!["kill".into(), "a".into()])));
    assert!(Scenario::parse("it".into(), "hello").is_err());
}

#[test]
fn names_are_bound_by_answers() {
    let mut names = Names::default();
    names.bind("p", "x7");
    assert_eq!(names.fill("put $p/k ü").as_deref(), Ok("put x7/k %C3%BC"));
    assert!(names.fill("get $r").is_err());
    assert_eq!(names.matches("ok $r", "ok 12"), Ok(()));
    assert_eq!(names.matches("ok $r+1 _", "ok 13 any"), Ok(()));
    assert!(names.matches("ok $r", "ok 13").is_err());
    assert!(names.matches("ok", "ok 13").is_err());
    assert!(names.matches("ok _", "ok").is_err());
    assert!(names.matches("@1000:3 1", &format!("{} 1", encode(&decode("@1000:3")))).is_ok());
}

#[test]
fn every_scenario_can_be_read_and_says_what_it_is_about() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("languages/scenarios");
    let mut count = 0;
    for file in std::fs::read_dir(folder).expect("the folder").flatten() {
        let scenario = Scenario::read(&file.path()).expect("a scenario");
        assert!(!scenario.steps.is_empty(), "{} has no steps", scenario.name);
        let text = std::fs::read_to_string(file.path()).expect("text");
        assert!(text.starts_with("# "), "{} does not say what it is about", scenario.name);
        count += 1;
    }
    assert!(count > 20, "{count} scenarios");
}
