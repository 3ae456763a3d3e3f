//! Whether an answer to a hostile request is a clear one.

use std::collections::BTreeSet;

use serde_json::Value;
use tests::{http::Answer, node::TestNode};

/// What the node may answer.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    /// Every `type` of a problem that the document names.
    types: BTreeSet<String>,
}

impl Verdict {
    /// As the document of this node says.
    pub(crate) fn of(node: &TestNode) -> Self {
        let document = node.get("/v1/openapi.json").json();
        let types = document.pointer("/components/schemas/Problem/properties/type/enum");
        let types = types.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let types: BTreeSet<String> = types.map(str::to_owned).collect();
        assert!(types.contains("urn:tesseras:problem:not-found"), "{document}");
        Self { types }
    }

    /// Errors with what is wrong with the answer.
    pub(crate) fn check(&self, answer: &Answer) -> Result<(), String> {
        match answer.status {
            100..=299 | 304 => Ok(()),
            // Of HTTP itself: no request was understood, so nobody was asked.
            400 | 414 | 431 if answer.field("content-length") == Some("0") => Ok(()),
            _ => self.is_problem(answer).map_err(|what| format!("{what}: {answer:?}")),
        }
    }

    fn is_problem(&self, answer: &Answer) -> Result<(), &'static str> {
        if answer.field("content-type") != Some("application/problem+json") {
            return Err("it is no problem document");
        }
        // An answer to HEAD, or one whose caller broke off.
        if !answer.whole {
            return Ok(());
        }
        let problem = answer.json();
        let Some(uri) = problem.get("type").and_then(Value::as_str) else { return Err("it has no type") };
        if !self.types.contains(uri) {
            return Err("its type is not in the document");
        }
        if problem.get("status").and_then(Value::as_u64) != Some(answer.status.into()) {
            return Err("its status is another");
        }
        // No caller is to blame for these, so no caller may cause them.
        if answer.status == 500 { Err("it is a fault of the node") } else { Ok(()) }
    }
}

#[test]
fn answer_that_is_not_clear_is_found() {
    let verdict = Verdict { types: [NOT_FOUND, INTERNAL].map(str::to_owned).into() };
    let answer = |status: u16, kind: &str, body: &str| Answer {
        status,
        head: format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}", body.len()),
        body: body.into(),
        whole: true,
    };
    let problem = |status: u16, uri: &str| {
        answer(status, "application/problem+json", &format!(r#"{{"type":"{uri}","status":{status}}}"#))
    };
    for clear in [answer(200, "text/plain", "alive"), answer(400, "", ""), problem(404, NOT_FOUND)] {
        assert_eq!(verdict.check(&clear), Ok(()));
    }
    for unclear in [
        answer(404, "text/plain", "no"),
        answer(404, "", ""),
        answer(404, "application/problem+json", "{}"),
        problem(404, "urn:tesseras:problem:unheard-of"),
        problem(500, INTERNAL),
        Answer { status: 400, ..problem(404, NOT_FOUND) },
    ] {
        assert!(verdict.check(&unclear).is_err(), "{unclear:?}");
    }
}

const NOT_FOUND: &str = "urn:tesseras:problem:not-found";
const INTERNAL: &str = "urn:tesseras:problem:internal";
