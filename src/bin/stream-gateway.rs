//! The program stream-gateway.

use std::process::ExitCode;

fn main() -> ExitCode {
    stream_agent::cli::gateway::main()
}
