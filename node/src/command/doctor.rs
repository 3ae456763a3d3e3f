//! `doctor`: what is wrong with this machine, with and without a daemon.

use super::Context;
use crate::{
    doctor::{self, Check, Outcome},
    exit::Exit,
    failure::Failure,
    output::Tone,
};

/// Look for what is wrong with this machine, and say what to do about it
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor;

impl Doctor {
    /// Does it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let checks = examine(context).await?;
        match context.output.json {
            true => context.output.json(&checks)?,
            false => print(context, &checks)?,
        }
        let failed = checks.iter().any(|check| check.outcome == Outcome::Failed);
        Ok(if failed { Exit::Failure } else { Exit::Ok })
    }
}

async fn examine(context: &Context) -> Result<Vec<Check>, Failure> {
    match context.config() {
        Ok(loaded) => Ok(doctor::examine(&loaded, &context.client()?).await),
        // Wrong settings are a finding like any other.
        Err(Failure::Problem(problem)) => Ok(doctor::examine_without_settings(&problem.detail).await),
        Err(closed) => Err(closed),
    }
}

fn print(context: &Context, checks: &[Check]) -> Result<(), Failure> {
    let widest = checks.iter().map(|check| check.check.len()).max().unwrap_or(0);
    for check in checks {
        let indent = OUTCOME_COLUMN + widest;
        let mut lines = check.finding.lines();
        let first = format!("{:widest$}  {}", check.check, lines.next().unwrap_or_default());
        context.output.judged(check.outcome.word(), OUTCOME_WIDTH, tone(check.outcome), &first)?;
        for line in lines {
            context.output.line(format!("{:indent$}  {}", "", line))?;
        }
        for line in check.remedy.iter().flat_map(|remedy| remedy.lines()) {
            context.output.line(format!("{:indent$}    {}", "", line))?;
        }
    }
    context.output.line(format!("\n{}", doctor::conclusion(checks)))
}

const fn tone(outcome: Outcome) -> Tone {
    match outcome {
        Outcome::Ok => Tone::Good,
        Outcome::Unknown => Tone::Plain,
        Outcome::Warning => Tone::Doubtful,
        Outcome::Failed => Tone::Bad,
    }
}

/// The longest word for an outcome.
const OUTCOME_WIDTH: usize = 7;
/// Where the names of the checks begin.
const OUTCOME_COLUMN: usize = OUTCOME_WIDTH + 2;
