//! A headless Chromium, spoken to in its DevTools protocol over two pipes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser with one page.
pub(crate) struct Browser {
    dir: TempDir,
    child: Child,
    commands: File,
    messages: Receiver<Value>,
    session: Option<String>,
    sent: u64,
    /// What it complained of: violations of policies, errors, everything that was logged.
    pub(crate) complaints: Vec<String>,
}

/// How a page is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    /// In pixels.
    pub(crate) width: u32,
    /// `light` or `dark`.
    pub(crate) scheme: &'static str,
}

impl Browser {
    /// Starts one, with nothing in its profile, that reaches this machine and no other.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [commands, messages] = ["commands", "messages"].map(|name| {
            let path = dir.path().join(name);
            mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
            path
        });
        let log = File::create(dir.path().join("log")).unwrap();
        // It reads from descriptor 3 and writes to 4; the shell puts them there.
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"exec chromium "$@" 3<"$COMMANDS" 4>"$MESSAGES""#, "sh"]);
        shell.args(ARGUMENTS).arg(format!("--user-data-dir={}", dir.path().join("profile").display()));
        shell.env("COMMANDS", &commands).env("MESSAGES", &messages).env("HOME", dir.path());
        let child = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let commands = File::options().write(true).open(commands).unwrap();
        let messages = listen(File::open(messages).unwrap());
        let mut browser =
            Self { dir, child, commands, messages, session: None, sent: 0, complaints: Vec::new() };
        browser.open_page();
        browser
    }

    /// Loads a page and waits until it is there.
    pub(crate) fn load(&mut self, address: &str, view: View) {
        let View { width, scheme } = view;
        let metrics = json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media);
        self.call("Page.navigate", json!({ "url": address }));
        self.until(|message| message["method"] == "Page.loadEventFired");
    }

    /// The value of an expression in the page.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let arguments = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", arguments);
        assert!(answer["exceptionDetails"].is_null(), "{answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until it has complained of something.
    #[track_caller]
    pub(crate) fn until_it_complains_of(&mut self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.complaints.iter().any(|complaint| complaint.contains(what)) {
            assert!(Instant::now() < deadline, "no word of {what}: {:?}", self.complaints);
            // Complaints come before answers.
            self.evaluate("0");
        }
    }

    /// What those hear who do not see: role and name of every node.
    pub(crate) fn heard(&mut self) -> Vec<(String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
        let nodes = tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] == false);
        nodes.map(|node| (text(&node["role"]), text(&node["name"]))).collect()
    }

    /// A picture of the whole page, as PNG.
    pub(crate) fn picture(&mut self, path: &Path) {
        let picture = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        let bytes = BASE64_STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn open_page(&mut self) {
        let page = self.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = self.call("Target.attachToTarget", attach);
        self.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Audits", "Accessibility"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
    }

    fn call(&mut self, method: &str, arguments: Value) -> Value {
        self.sent += 1;
        let number = self.sent;
        let mut command = json!({ "id": number, "method": method, "params": arguments });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&command).unwrap();
        bytes.push(0);
        self.commands.write_all(&bytes).unwrap();
        let answer = self.until(|message| message["id"] == number);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Takes messages up to this one, and notes the complaints among them.
    fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(message) = self.messages.recv_timeout(left) else {
                let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                panic!("chromium does not answer (tests/setup installs it): {log}");
            };
            let method = message["method"].as_str().unwrap_or_default();
            if COMPLAINTS.contains(&method) {
                self.complaints.push(message.to_string());
            }
            if is_it(&message) {
                return message;
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Messages end with a zero byte.
fn listen(messages: File) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for message in BufReader::new(messages).split(0).map_while(Result::ok) {
            let Ok(message) = serde_json::from_slice(&message) else { continue };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    receiver
}

const ARGUMENTS: [&str; 13] = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];
const COMPLAINTS: [&str; 4] =
    ["Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Audits.issueAdded"];
const PATIENCE: Duration = Duration::from_secs(60);
