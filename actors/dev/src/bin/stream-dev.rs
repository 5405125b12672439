//! The whole stack on one machine: arguments, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    stream_dev::command_line::main()
}
