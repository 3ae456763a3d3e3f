//! The `node` binary: daemon and command line.
//!
//! # Invariants
//! 1. Knows nothing of how things are stored, cut or repaired: it parses, asks, and prints.
//! 2. Only `output` writes to standard output and standard error, beside the daemon's log and progress bars.
//! 3. Absent on purpose: global state. What a command needs is handed to it.

mod admin;
mod api;
mod args;
mod backup;
mod card;
mod causes;
mod client;
mod clock;
mod command;
mod daemon;
mod data_dir;
mod doctor;
mod event;
mod examples;
mod exit;
mod explained;
mod explained_node;
mod failure;
mod held;
mod human;
mod jobs;
mod keys;
mod ledger;
mod local;
mod lock;
mod manual;
mod network;
mod new_file;
mod output;
mod over_tcp;
mod page;
mod pipe;
mod pooled;
mod printable;
mod problem;
mod progress;
mod rebuilt;
mod recovered;
mod reload;
mod replicated;
mod schema;
mod scrubbed;
mod service;
mod settings;
mod signals;
mod table;
mod telemetry;
mod verified;

use std::{io, process::ExitCode, time::Duration};

use clap::error::ErrorKind;
use rustix::{
    fs::Mode,
    process::{Resource, getrlimit},
};
use tokio::runtime;

use args::Args;
use command::{Command, Context};
use doctor::limits::{DESCRIPTORS_MIN, DESCRIPTORS_WANTED};
use exit::Exit;
use failure::Failure;
use output::{Color, Output};
use problem::{Kind, Problem};

fn main() -> ExitCode {
    match Args::typed() {
        Ok(args) => {
            let context = Context::new(args.globals);
            let outcome = run(args.command, &context);
            finish(context.output, outcome).into()
        }
        Err(error) => misused(&error).into(),
    }
}

fn run(command: Command, context: &Context) -> Result<Exit, Failure> {
    if command.is_private() {
        // Before the first thread and the first file: SQLite and sockets are made with whatever the umask leaves.
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
    }
    let runtime = runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| no_runtime(&error))?;
    let outcome = runtime.block_on(command.run(context));
    // A thread that still reads a file or standard input has nobody left to read for.
    runtime.shutdown_timeout(THREADS_DEADLINE);
    outcome
}

/// What a process may have is not enough to begin with.
fn no_runtime(error: &io::Error) -> Failure {
    let limit = |resource| {
        getrlimit(resource).current.map_or_else(|| "any number of".to_owned(), |most| most.to_string())
    };
    let detail = format!(
        "this process could not begin: {error}. It may have {} open files, of which the daemon needs {DESCRIPTORS_MIN}, and \
         its user {} processes and threads: raise what is too low, with `ulimit -n {DESCRIPTORS_WANTED}` and `ulimit -u`, or \
         LimitNOFILE and TasksMax in the unit of a service",
        limit(Resource::Nofile),
        limit(Resource::Nproc)
    );
    Failure::new(Kind::Io, detail)
}

fn finish(output: Output, outcome: Result<Exit, Failure>) -> Exit {
    match outcome {
        Ok(exit) => exit,
        Err(Failure::ClosedPipe) => Exit::Ok,
        Err(Failure::Problem(problem)) => {
            output.error(&problem);
            problem.kind().exit()
        }
    }
}

/// Help and version are asked for; everything else is wrong usage.
fn misused(error: &clap::Error) -> Exit {
    let json = std::env::args_os().any(|argument| argument == "--json");
    let output = Output { json, color: Color::Auto };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            finish(output, output.text(&error.render().to_string()).map(|()| Exit::Ok))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if !json => {
            output.remark(error.render().to_string().trim_end());
            Exit::Usage
        }
        _ => {
            let text = error.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            finish(output, Err(Problem::new(Kind::Usage, text.trim_end()).into()))
        }
    }
}

/// How long threads that are still at work may hold up the end of the process.
const THREADS_DEADLINE: Duration = Duration::from_secs(1);
