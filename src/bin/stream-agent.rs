//! The program stream-agent.

use std::process::ExitCode;

fn main() -> ExitCode {
    stream_agent::cli::agent::main()
}
