//! A reader of stdout who has gone, as `head` has after its lines.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::process::ExitCode;

/// Runs a command that prints. Where its reader has gone it ends, with status 0: they have what they wanted.
///
/// `println!` panics then. To unwind lets go of all that the command holds; to end by SIGPIPE, or at once, would not.
pub(crate) fn run(command: impl FnOnce() -> ExitCode) -> ExitCode {
    let loud = take_hook();
    set_hook(Box::new(move |panic| {
        if !is_of_a_closed_pipe(panic.payload()) {
            loud(panic);
        }
    }));
    match catch_unwind(AssertUnwindSafe(command)) {
        Ok(status) => status,
        Err(panic) if is_of_a_closed_pipe(panic.as_ref()) => ExitCode::SUCCESS,
        Err(panic) => resume_unwind(panic),
    }
}

fn is_of_a_closed_pipe(panic: &(dyn Any + Send)) -> bool {
    let closed = std::io::Error::from_raw_os_error(nix::libc::EPIPE);
    panic
        .downcast_ref::<String>()
        .is_some_and(|text| *text == format!("failed printing to stdout: {closed}"))
}
