//! Ends a command whose standard output cannot be written.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::process::ExitCode;

/// What Rust's `println!` panics with, before the system's error.
const WRITE_FAILED: &str = "failed printing to stdout: ";

/// The exit status of a command whose reader has closed the pipe: what a shell reports of a program that SIGPIPE ended. Never 0,
/// since the command has not finished, and `doctor` may have found something wrong.
const CLOSED_PIPE: u8 = 141;

/// Runs a command that prints. If its reader has closed the pipe, as `head` does, exits with status 141. If the output
/// cannot be written for another reason, such as a full disk, reports that and exits with status 1.
///
/// `println!` panics in both cases. Unwinding releases all that the command holds, which SIGPIPE would not.
pub(crate) fn run(command: impl FnOnce() -> ExitCode) -> ExitCode {
    let default_hook = take_hook();
    set_hook(Box::new(move |panic| {
        if write_error(panic.payload()).is_none() {
            default_hook(panic);
        }
    }));
    let panic = match catch_unwind(AssertUnwindSafe(command)) {
        Ok(status) => return status,
        Err(panic) => panic,
    };
    match write_error(panic.as_ref()) {
        Some(error) => failed(error),
        None => resume_unwind(panic),
    }
}

/// Prints the help, the version or what is wrong with the arguments. `clap` itself would ignore that it cannot be written.
pub(crate) fn usage(usage: &clap::Error) -> ExitCode {
    match usage.print() {
        Ok(()) => ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2)),
        Err(error) => failed(&error.to_string()),
    }
}

fn failed(error: &str) -> ExitCode {
    let closed_pipe = std::io::Error::from_raw_os_error(nix::libc::EPIPE).to_string();
    if error == closed_pipe {
        return ExitCode::from(CLOSED_PIPE);
    }
    eprintln!("surepass: cannot write to standard output: {error}");
    ExitCode::FAILURE
}

/// The system's error, if the panic is that of a failed write to standard output.
fn write_error(panic: &(dyn Any + Send)) -> Option<&str> {
    panic.downcast_ref::<String>()?.strip_prefix(WRITE_FAILED)
}
