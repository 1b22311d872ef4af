//! The answer to an upsert (W1–W6).

use super::harness::{
    MakeFixture, Stage, assert_begins, assert_complete, assert_holds, body, item, outcomes, request,
};
use crate::admission::report::Outcome;

/// W1, W2.
pub(super) fn the_response_is_the_documented_one(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let report = store.send("g", body([("user1-id", r#"{"name":"John Doe"}"#), ("user2-id", "{}")]));
    let expected = concat!(
        r#"{"status":"success","total_users":2,"processed_users":2,"users_results":["#,
        r#"{"user_index":0,"external_user_id":"user1-id","success":true,"errors":[]},"#,
        r#"{"user_index":1,"external_user_id":"user2-id","success":true,"errors":[]}]}"#,
    );
    assert_eq!(report.to_json(), expected);
    assert_eq!(serde_json::to_string(&report).expect("a report serialises"), expected);
}

/// W2, W3.
pub(super) fn the_status_goes_by_what_is_stored(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let part = store.send("g", request([item("ada", "{}"), "7".to_owned()]));
    assert_begins(&part.to_json(), r#"{"status":"success","total_users":2,"processed_users":1,"#);
    let none = store.send("g", r#"{"users":[7,{}]}"#);
    assert_begins(&none.to_json(), r#"{"status":"error","total_users":2,"processed_users":0,"#);
    let empty = store.send("g", r#"{"users":[]}"#);
    assert_eq!(
        empty.to_json(),
        r#"{"status":"success","total_users":0,"processed_users":0,"users_results":[]}"#
    );
    assert_complete(&store.send_users("g", vec![]));
}

/// W2.
pub(super) fn results_stand_in_request_order(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let ids = ["z", "a", "m", "z", "B", "é"];
    let report = store.send("g", body(ids.map(|id| (id, "{}"))));
    for (index, (result, id)) in report.results().iter().zip(ids).enumerate() {
        assert_eq!((result.user_index, result.external_user_id()), (index, Some(id)));
    }
    assert_eq!(report.total_users(), ids.len());
}

/// W4.
pub(super) fn ids_are_echoed_as_given(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let long = "x".repeat(300);
    let items = [
        item("", "{}"),
        item("a\0b", "{}"),
        item(&long, "{}"),
        r#"{"external_user_id":"\u0061"}"#.to_owned(),
        r#"{"external_user_id":7,"memory":{}}"#.to_owned(),
        r#"{"external_user_id":null,"memory":{}}"#.to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
    ];
    let report = store.send("g", request(items));
    let echoed: Vec<_> = report.results().iter().map(|result| result.external_user_id()).collect();
    let expected = [Some(""), Some("a\0b"), Some(long.as_str()), Some("a"), None, None, None, None];
    assert_eq!(echoed, expected);
    let json = report.to_json();
    assert_holds(&json, r#"{"user_index":1,"external_user_id":"a\u0000b","success":false,"#);
    assert_holds(&json, r#"{"user_index":4,"external_user_id":null,"success":false,"#);
}

/// W5.
pub(super) fn the_same_report_is_the_documented_400_body(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let report = store.send(
        "g",
        r#"{"users":[{"external_user_id":"user1-id"},{"external_user_id":"user2-id","memory":{}}]}"#,
    );
    assert_eq!(
        report.error_body().to_json(),
        concat!(
            r#"{"error":"Failed to process some users","details":[],"users_results":["#,
            r#"{"user_index":0,"external_user_id":"user1-id","success":false,"errors":["Missing memory data"]},"#,
            r#"{"user_index":1,"external_user_id":"user2-id","success":true,"errors":[]}]}"#,
        )
    );
}

/// W6.
pub(super) fn a_report_tells_outcomes_and_counts(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    store.fill("g", body([("old", r#"{"n":1}"#), ("same", "{}")]));
    let items = [item("old", r#"{"n":2}"#), item("same", "{}"), item("new", "{}"), "7".to_owned()];
    let report = store.send("g", request(items));
    let told: Vec<_> = report.results().iter().map(|result| result.result.as_ref().ok().copied()).collect();
    assert_eq!(told, [Some(Outcome::Updated), Some(Outcome::Unchanged), Some(Outcome::Created), None]);
    let counts = report.counts();
    assert_eq!((counts.created, counts.updated, counts.unchanged, counts.failed), (1, 1, 1, 1));
    assert_eq!(report.failures().map(|result| result.user_index).collect::<Vec<_>>(), [3]);
    let refused = report.clone().into_result();
    assert_eq!(refused.as_ref().map_err(|refused| refused.report()), Err(&report));
    let whole = store.send("g", body([("new", "{}")])).into_result().expect("every item is stored");
    assert_eq!(outcomes(&whole), [Outcome::Unchanged]);
}
