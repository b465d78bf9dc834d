//! The model-driven investigator: a loop of a [`Model`](crate::ports::Model) and a few tools, over the ports.
//!
//! Nothing that the model says is believed. Every tool goes through the [`Toolbox`](crate::ports::Toolbox), and so through
//! the service account's permissions and the adapters' gate, in read mode; there is no tool that writes. What it may cite is
//! what was really read in this run. A plan that it proposes is data: reviewed by the adapter, dry-run by the target system,
//! decided by a person. What is read is handed to it as data, [fenced, stripped of what cannot be seen, redacted and
//! capped](untrusted), and it is bounded in turns, time, tokens and money.
//!
//! | file | what |
//! | --- | --- |
//! | `orchestrator` | the loop, and how a run ends |
//! | `tools/` | one file a tool: arguments, schema, what it does |
//! | `desk` | what was found so far |
//! | `transcript` | the conversation, compacted when it grows |
//! | `limits` | turns, time, repetition |
//! | `untrusted` | how text from elsewhere is handed to a model, and kept |
//! | `render` | a datasource's answer as text |
//! | `brief` | what the model is told at the beginning |
//! | `prompt` | the standing instructions, versioned |

mod auto;
mod brief;
mod desk;
mod limits;
mod orchestrator;
pub mod prompt;
mod render;
mod tools;
mod transcript;
pub mod untrusted;

pub use auto::AutoInvestigator;
pub use orchestrator::{AgentSettings, OrchestratorAgent};
