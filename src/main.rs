//! The `surepass` command line.

#[macro_use]
mod print;

mod commands;
mod sigpipe;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use surepass::config::{ConfigError, Settings};

use commands::{
    catalog, completions, doctor, healthcheck, jobs, man, migrate, reconcile, serve, subscriptions, sync,
    unmatched, up, workers,
};

/// Everyone who pays for a pass through Stripe Checkout gets it: exactly once, within seconds, whatever fails.
///
/// Try it: `surepass up --demo`. Run it: `surepass up` on one machine; on several, any number of `surepass serve` and
/// `surepass-worker` against one Redis and one store.
///
/// Settings come from config/*.toml and the environment; config/default.toml lists them all.
///
/// Exit status: 0 done, 1 something is wrong (the reason is on stderr), 2 wrong usage.
#[derive(Parser, Debug)]
#[command(name = "surepass", version, long_version = surepass::LONG_VERSION)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run everything on this machine: Redis, store, server and worker
    Up(up::Arguments),
    /// Run the HTTP server: webhook endpoints and customer routes
    Serve,
    /// Create or upgrade the tables of the SQL store
    Migrate,
    /// Import or list tenants and their passes
    #[command(subcommand)]
    Catalog(catalog::Command),
    /// List and show subscriptions, and move one to another user
    #[command(subcommand)]
    Subscriptions(subscriptions::Command),
    /// Find purchases that are paid in Stripe but have no pass, and fulfil them
    Sync(sync::Arguments),
    /// List and resolve payments that have no pass
    #[command(subcommand)]
    Unmatched(unmatched::Command),
    /// Inspect and manage jobs
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// List workers
    #[command(subcommand)]
    Workers(workers::Command),
    /// Check every setting and connection, and show how to fix what is wrong
    Doctor(doctor::Arguments),
    /// Compare the paid sessions in Stripe with the subscriptions in the store
    Reconcile(reconcile::Arguments),
    /// Exit 0 if a URL responds with success, for containers without curl
    Healthcheck(healthcheck::Arguments),
    /// Print completions for a shell, such as `surepass completions bash > /etc/bash_completion.d/surepass`
    Completions(completions::Arguments),
    /// Write the man pages, such as `surepass man /usr/local/share/man/man1`
    Man(man::Arguments),
}

impl Command {
    /// Whether it works on the store and the Redis of an `up` that runs, where the settings name none.
    fn finds_its_store(&self) -> bool {
        !matches!(
            self,
            Self::Up(_) | Self::Healthcheck(_) | Self::Completions(_) | Self::Man(_)
        )
    }
}

/// What a command found wrong, in words for a person.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match Arguments::try_parse() {
        Ok(arguments) => sigpipe::run(|| run(arguments)),
        Err(usage) => sigpipe::usage(&usage),
    }
}

fn run(arguments: Arguments) -> ExitCode {
    let mut settings = Settings::load();
    if let Ok(settings) = &mut settings
        && arguments.command.finds_its_store()
        && let Some(told) = surepass::up::fill_in(settings)
    {
        eprintln!("surepass: {told}");
    }
    ended(dispatch(arguments.command, settings))
}

/// The doctor reports settings that cannot be read, and what needs none works without them.
fn dispatch(command: Command, settings: Result<Settings, ConfigError>) -> Result<ExitCode, Failure> {
    match command {
        Command::Up(arguments) => up::run(settings?, &arguments),
        Command::Serve => serve::run(&settings?),
        Command::Migrate => migrate::run(&settings?),
        Command::Catalog(command) => catalog::run(&settings?, command),
        Command::Subscriptions(command) => subscriptions::run(&settings?, command),
        Command::Sync(arguments) => sync::run(&settings?, &arguments),
        Command::Unmatched(command) => unmatched::run(&settings?, command),
        Command::Jobs(command) => jobs::run(&settings?, command),
        Command::Workers(command) => workers::run(&settings?, &command),
        Command::Doctor(arguments) => doctor::run(settings, &arguments),
        Command::Reconcile(arguments) => reconcile::run(&settings?, &arguments),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(arguments),
    }
}

fn ended(done: Result<ExitCode, Failure>) -> ExitCode {
    match done {
        Ok(status) => status,
        Err(error) => {
            eprintln!("surepass: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_help_of_every_command_is_as_it_was_reviewed() {
        support::help::check(super::Arguments::command());
    }
}
