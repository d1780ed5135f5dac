//! The `surepass` command line.

#[macro_use]
mod print;

mod commands;
mod pipe;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use surepass::config::Settings;

use commands::{
    catalog, doctor, healthcheck, jobs, migrate, reconcile, serve, subscriptions, sync, unmatched, up,
    workers,
};

/// Everyone who pays for a pass through Stripe Checkout gets it: exactly once, within seconds, whatever fails.
///
/// Try it:      surepass up --demo
/// Run it:      surepass up                (one machine), or
///              surepass serve and surepass-worker, any number of each, against one Redis and one store
///
/// Settings come from config/*.toml and the environment; config/default.toml lists them all.
/// Exit status: 0 done, 1 something is wrong (told on stderr), 2 misuse.
#[derive(Parser, Debug)]
#[command(name = "surepass", version, verbatim_doc_comment)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run everything on this machine: Redis, store, server, worker
    Up(up::Arguments),
    /// Run the HTTP server: the webhook intake and the customers' routes
    Serve,
    /// Create or upgrade the tables of the SQL store
    Migrate,
    /// Import or list tenants and their passes
    #[command(subcommand)]
    Catalog(catalog::Command),
    /// Show who holds which pass
    #[command(subcommand)]
    Subscriptions(subscriptions::Command),
    /// Find what somebody paid for and does not have, and bring it
    Sync(sync::Arguments),
    /// List payments that have no pass, and resolve them
    #[command(subcommand)]
    Unmatched(unmatched::Command),
    /// Look into the queues, and steer them
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// Show who works
    #[command(subcommand)]
    Workers(workers::Command),
    /// Check every setting and connection, one line each, and say how to mend what is wrong
    Doctor(doctor::Arguments),
    /// Compare what Stripe was paid for with what the store holds
    Reconcile(reconcile::Arguments),
    /// Exit 0 if an address answers with success: for containers that have no curl
    Healthcheck(healthcheck::Arguments),
}

/// What a command found wrong, in words for a person.
type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    pipe::quietly(|| run(Arguments::parse()))
}

fn run(arguments: Arguments) -> ExitCode {
    let mut settings = Settings::load();
    let starts = matches!(arguments.command, Command::Up(_) | Command::Healthcheck(_));
    if let Ok(settings) = &mut settings
        && !starts
        && let Some(told) = surepass::up::fill_in(settings)
    {
        eprintln!("surepass: {told}");
    }
    // Settings that cannot be read are for the doctor to tell of.
    if let Command::Doctor(arguments) = &arguments.command {
        return ended(doctor::run(settings, arguments));
    }
    let done = settings
        .map_err(Failure::from)
        .and_then(|settings| match arguments.command {
            Command::Up(arguments) => up::run(settings, &arguments),
            Command::Serve => serve::run(&settings),
            Command::Migrate => migrate::run(&settings),
            Command::Catalog(command) => catalog::run(&settings, command),
            Command::Subscriptions(command) => subscriptions::run(&settings, command),
            Command::Sync(arguments) => sync::run(&settings, &arguments),
            Command::Unmatched(command) => unmatched::run(&settings, command),
            Command::Jobs(command) => jobs::run(&settings, command),
            Command::Workers(command) => workers::run(&settings, &command),
            Command::Doctor(arguments) => doctor::run(Ok(settings), &arguments),
            Command::Reconcile(arguments) => reconcile::run(&settings, &arguments),
            Command::Healthcheck(arguments) => healthcheck::run(&arguments),
        });
    ended(done)
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
