//! The status page of a real daemon in a browser.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

mod chromium;
#[path = "../common/mod.rs"]
mod common;

use std::{fs, path::Path};

use chromium::{Browser, View};
use common::{Daemon, Place};
use serde_json::Value;

/// Those of a phone and of a desk.
const VIEWS: [View; 4] = [
    View { width: 360, scheme: "light" },
    View { width: 360, scheme: "dark" },
    View { width: 1280, scheme: "light" },
    View { width: 1280, scheme: "dark" },
];

#[test]
fn page_is_readable_in_a_browser_of_any_width_and_scheme() {
    let place = Place::new();
    let (_daemon, address) = Daemon::with_metrics(&place);
    let letter = place.path().join("letter.txt");
    fs::write(&letter, b"We went to the sea.").unwrap();
    let id = place.create(&letter, &["--public"]);
    place.keep("photo.jpg", &[7; 5000]);
    let mut browser = Browser::start();
    let url = format!("http://{address}/");
    for view in VIEWS {
        browser.load(&url, view);
        check(&mut browser, view, "In order");
    }
    place.damage(b"We went to the sea.");
    place.node(["verify", &id]);
    let view = View { width: 360, scheme: "light" };
    browser.load(&url, view);
    check(&mut browser, view, "Look here");
    assert_eq!(browser.complaints, [""; 0]);
    // Were there a hole through which something got into the page, it would do nothing there.
    assert_eq!(browser.evaluate(INJECTION), Value::Null);
    browser.until_it_complains_of("script-src");
    browser.until_it_complains_of("style-src");
}

#[track_caller]
fn check(browser: &mut Browser, view: View, state: &str) {
    // Kept to be looked at.
    let name = format!("page {state} {} {}.png", view.width, view.scheme).replace(' ', "-").to_lowercase();
    browser.picture(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
    assert_eq!(browser.evaluate("document.title"), format!("{state} · Tesseras"));
    check_what_is_seen(browser, view);
    check_what_is_heard(browser, state);
}

#[track_caller]
fn check_what_is_seen(browser: &mut Browser, view: View) {
    assert_eq!(browser.evaluate("document.documentElement.scrollWidth"), view.width, "{view:?}");
    assert_eq!(browser.evaluate(BEYOND_THE_EDGE), Value::Array(Vec::new()), "{view:?}");
    let faintest = browser.evaluate(FAINTEST);
    assert!(faintest["contrast"].as_f64().unwrap() >= CONTRAST_MIN, "{view:?}: {faintest}");
    let ground = browser.evaluate("getComputedStyle(document.body).backgroundColor");
    assert_eq!(ground == "rgb(20, 23, 26)", view.scheme == "dark", "{ground} in {view:?}");
}

#[track_caller]
fn check_what_is_heard(browser: &mut Browser, state: &str) {
    let heard = browser.heard();
    let has = |role: &str, name: &str| heard.iter().any(|(r, n)| r == role && n.starts_with(name));
    let sentence = if state == "In order" { "Everything is in order: 2 tesserae" } else { state };
    for heading in [sentence, "Space", "Verification", "Cache", "Repairs", "The last hour", "Actors"] {
        assert!(has("heading", heading), "{heading}: {heard:?}");
    }
    assert!(has("columnheader", "State") && has("rowheader", "storage"), "{heard:?}");
    let images: Vec<_> = heard.iter().filter(|(role, _)| role == "image").collect();
    assert!(images.len() >= 2 && images.iter().all(|(_, name)| !name.is_empty()), "{images:?}");
}

const INJECTION: &str = "{
    const script = document.createElement('script');
    script.textContent = 'window.ran = true';
    document.body.append(script);
    document.body.setAttribute('style', 'color: red');
    window.ran
}";

/// What of the page cannot be seen without scrolling sideways, or sticks out of what it is in.
const BEYOND_THE_EDGE: &str =
    "[...document.body.querySelectorAll('*')].filter(e => e instanceof HTMLElement).filter(e => {
    const right = e.getBoundingClientRect().right, around = e.parentElement;
    const edge = around.getBoundingClientRect().right - parseFloat(getComputedStyle(around).paddingRight);
    return right > innerWidth || right > edge + 0.5;
}).map(e => e.outerHTML)";

/// The text that stands out least from what is behind it, by the formula of WCAG 2.
const FAINTEST: &str = r"(() => {
    const parts = color => color.match(/[\d.]+/g).map(Number);
    const light = color => {
        const linear = c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = parts(color).map(c => linear(c / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = e => {
        const color = getComputedStyle(e).backgroundColor;
        return parts(color)[3] === 0 ? behind(e.parentElement) : color;
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let faintest = { contrast: 21, text: '' };
    while (texts.nextNode()) {
        const e = texts.currentNode.parentElement;
        const [a, b] = [light(getComputedStyle(e).color), light(behind(e))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < faintest.contrast) faintest = { contrast, text: texts.currentNode.data };
    }
    return faintest;
})()";
const CONTRAST_MIN: f64 = 4.5;
