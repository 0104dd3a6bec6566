//! `txn`.

use crate::support::Place;

#[test]
fn transactions_read_as_with_etcdctl() {
    for place in Place::both() {
        place.ok(["put", "a", "9"]);
        let txn = "mod(\"a\") > \"0\"\n\nput b \"x y\"\nget a\nput \"q\\\"1\" \"w\"\ndel zz\n\
                   get \"\" --prefix --keys-only\n\nget b\n\n";
        let shown = "SUCCESS\n\nOK\n\na\n9\n\nOK\n\n0\n\na\n\nb\n\nq\"1\n\n";
        assert_eq!(place.run_with(["txn"], txn.as_bytes()).ok(), shown);
        assert_eq!(place.ok(["get", "b"]), "b\nx y\n");

        let txn = "val(\"a\") = \"nope\"\nver(\"a\") = \"1\"\n\nput b 1\n\nget b\ndel b --prev-kv\n\n";
        assert_eq!(place.run_with(["txn"], txn.as_bytes()).ok(), "FAILURE\n\nb\nx y\n\n1\nb\nx y\n");

        let txn = "mod(\"a\") > \"0\"\n\nput b \"x y\"\n\n\n";
        let shown = "compares:\nsuccess requests (get, put, del):\nfailure requests (get, put, del):\nSUCCESS\n\nOK\n";
        assert_eq!(place.run_with(["txn", "-i"], txn.as_bytes()).ok(), shown);
    }
}

#[test]
fn json_reads_as_with_etcdctl() {
    for place in Place::both() {
        let answer = place.run_with(["txn", "-w", "json"], b"\nput j 1\nget j\ndel zz\n\n\n").json();
        assert_eq!((&answer["succeeded"], &answer["header"]["revision"]), (&true.into(), &2.into()));
        assert_eq!(
            answer["responses"],
            serde_json::json!([
                {"Response": {"response_put": {"header": {"revision": 2}}}},
                {"Response": {"response_range": {"header": {"revision": 2}, "kvs": [
                    {"key": "ag==", "create_revision": 2, "mod_revision": 2, "version": 1, "value": "MQ=="}
                ], "count": 1}}},
                {"Response": {"response_delete_range": {"header": {"revision": 2}}}},
            ])
        );
    }
}

#[test]
fn all_targets_and_operators_compare() {
    let place = Place::file();
    place.ok(["put", "k", "v"]);
    place.ok(["put", "k", "v"]);
    for (compare, holds) in [
        ("create(\"k\") = \"2\"", true),
        ("mod(\"k\") = \"3\"", true),
        ("ver(\"k\") < \"3\"", true),
        ("val(\"k\") != \"w\"", true),
        ("val(\"k\") > \"u\"", true),
        ("lease(\"k\") = \"0\"", true),
        ("ver(\"missing\") = \"0\"", true),
        ("val(\"missing\") != \"x\"", false),
        ("mod(\"k\") > \"3\"", false),
    ] {
        let answer = place.run_with(["txn"], format!("{compare}\n\n\n\n").as_bytes()).ok();
        assert_eq!(answer, if holds { "SUCCESS\n" } else { "FAILURE\n" }, "{compare}");
    }
}

#[test]
fn what_is_no_transaction_writes_nothing() {
    for place in Place::both() {
        place.ok(["put", "a", "1"]);
        for (input, text) in [
            ("modd(\"a\") > \"0\"\n\nput b 1\n\n\n", "unknown target modd"),
            ("mod(\"a\") > \"0\"\n\nputt b 1\n\n\n", "none of get, put, del"),
            ("mod(\"a\") > \"abc\"\n\n\n\n", "`abc` is no number"),
            ("\nput b\n\n\n", "the value is missing"),
            ("\nput b 1\n\n", "the input ended within the failure requests"),
            ("\nput b 1\n", "the input ended within the success requests"),
            ("mod(\"a\") > \"1\"", "the input ended within the compares"),
        ] {
            place.run_with(["txn"], input.as_bytes()).fails(2, text);
        }
        place.run_with(["txn"], b"\nput b 1\nput b 2\n\n\n").fails(1, "duplicate key given in txn request");
        assert_eq!(place.ok(["get", "b"]), "");
        assert_eq!(place.revision(), 2);
    }
}

#[test]
fn the_number_of_operations_is_bounded() {
    for place in Place::both() {
        let puts = |n: usize| (0..n).map(|i| format!("put k{i} v\n")).collect::<String>();
        let many = format!("\n{}\n\n", puts(129));
        place.run_with(["txn"], many.as_bytes()).fails(1, "too many operations in txn request");
        assert_eq!(place.revision(), 1);
        let most = format!("\n{}\n\n", puts(128));
        assert!(place.run_with(["txn"], most.as_bytes()).ok().starts_with("SUCCESS\n\nOK\n"));
        assert_eq!(place.revision(), 2);
    }
}
