//! The Rounds server with one more connector in it: naming a crate is all it takes.

use std::process::ExitCode;

use rounds_connectors as _;
use rounds_custom_connector as _;

fn main() -> ExitCode {
    rounds_server::cli::main()
}
