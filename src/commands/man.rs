//! `surepass man`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::Failure;

#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Write a page for each command into this folder. Without it the page of `surepass` itself goes to stdout
    folder: Option<PathBuf>,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Some(folder) = arguments.folder else {
        let mut page = Vec::new();
        // As `generate_to` leaves it out, too.
        Man::new(crate::Arguments::command().disable_help_subcommand(true)).render(&mut page)?;
        print!("{}", String::from_utf8(page)?);
        return Ok(ExitCode::SUCCESS);
    };
    std::fs::create_dir_all(&folder)
        .and_then(|()| clap_mangen::generate_to(crate::Arguments::command(), &folder))
        .map_err(|error| format!("cannot write man pages to {}: {error}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
