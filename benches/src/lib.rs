//! What is measured: `cargo bench -p rounds-benches` for the pure core, `measure` for the whole server.
//!
//! Numbers depend on the machine; what is kept in `docs/performance.md` says how it was measured, and ratios travel
//! better than times.
