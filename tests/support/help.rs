//! What a program and each of its commands say of themselves.

use std::fmt::Write;

use clap::Command;

use crate::snapshot;

const COLUMNS: usize = 80;

/// Compares the help of a program and of each of its commands with its snapshot.
pub fn check(program: Command) {
    let name = program.get_name().to_owned();
    let mut program = program.bin_name(&name).term_width(COLUMNS);
    program.build();
    let mut text = String::new();
    add(&mut program, &mut text);
    snapshot::check(&format!("help-{name}"), &text, None);
}

fn add(command: &mut Command, text: &mut String) {
    let called = command.get_bin_name().unwrap_or_default().to_owned();
    let help = command.render_long_help();
    writeln!(text, "$ {called} --help\n{help}").expect("a string takes it");
    for inner in command.get_subcommands_mut() {
        if inner.get_name() != "help" {
            add(inner, text);
        }
    }
}
