//! `rounds-server`: serve, demo, migrate, audit, gate, with the connectors of this repository.

use std::process::ExitCode;

// Linking registers the connectors; the linker drops a crate that nothing names.
use rounds_connectors as _;

fn main() -> ExitCode {
    rounds_server::cli::main()
}
