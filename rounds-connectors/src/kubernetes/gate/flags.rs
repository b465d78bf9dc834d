//! Which flags each verb accepts, with their arity. What is not here is refused: a flag is accepted because somebody
//! thought about it, never because kubectl has it.

/// How a flag takes its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arity {
    /// In the same or the next argument.
    Value,
    /// Alone means true; a value only when attached.
    Bool,
    /// Has a value, but only when attached with `=`: kubectl reads the next argument as a name.
    Attached,
}

/// One flag.
#[derive(Debug)]
pub(super) struct Flag {
    pub(super) long: &'static str,
    pub(super) short: Option<char>,
    pub(super) arity: Arity,
    pub(super) help: &'static str,
}

/// A verb's flags, in parts that verbs share.
pub(super) type Table = &'static [&'static [Flag]];

const fn value(long: &'static str) -> Flag {
    Flag { long, short: None, arity: Arity::Value, help: "" }
}

const fn short_value(long: &'static str, short: char) -> Flag {
    Flag { long, short: Some(short), arity: Arity::Value, help: "" }
}

const fn switch(long: &'static str) -> Flag {
    Flag { long, short: None, arity: Arity::Bool, help: "" }
}

const fn short_switch(long: &'static str, short: char) -> Flag {
    Flag { long, short: Some(short), arity: Arity::Bool, help: "" }
}

const fn attached(long: &'static str, help: &'static str) -> Flag {
    Flag { long, short: None, arity: Arity::Attached, help }
}

const COMMON: &[Flag] = &[short_value("namespace", 'n'), value("request-timeout"), short_value("v", 'v')];
const OUTPUT: &[Flag] = &[short_value("output", 'o')];
const PRINTING: &[Flag] =
    &[short_value("output", 'o'), switch("allow-missing-template-keys"), switch("show-managed-fields")];
const DRY_RUN: &[Flag] = &[attached("dry-run", "client, server or none")];
const MANAGER: &[Flag] = &[value("field-manager")];
const EVERYWHERE: &[Flag] = &[short_switch("all-namespaces", 'A')];
const SELECTOR: &[Flag] = &[short_value("selector", 'l')];

pub(super) const GET: Table = &[
    COMMON,
    PRINTING,
    EVERYWHERE,
    SELECTOR,
    &[
        value("field-selector"),
        value("chunk-size"),
        switch("ignore-not-found"),
        short_value("label-columns", 'L'),
        switch("no-headers"),
        switch("show-kind"),
        switch("show-labels"),
        switch("server-print"),
        short_switch("watch", 'w'),
        switch("watch-only"),
        value("sort-by"),
        value("subresource"),
    ],
];
pub(super) const DESCRIBE: Table = &[COMMON, EVERYWHERE, SELECTOR, &[switch("show-events"), value("chunk-size")]];
pub(super) const LOGS: Table = &[
    COMMON,
    SELECTOR,
    &[
        short_value("container", 'c'),
        switch("all-containers"),
        short_switch("previous", 'p'),
        value("since"),
        value("since-time"),
        value("tail"),
        value("limit-bytes"),
        switch("timestamps"),
        switch("prefix"),
        switch("ignore-errors"),
        value("max-log-requests"),
        short_switch("follow", 'f'),
        switch("all-pods"),
        value("pod-running-timeout"),
    ],
];
pub(super) const TOP: Table = &[
    COMMON,
    EVERYWHERE,
    SELECTOR,
    &[
        value("field-selector"),
        switch("containers"),
        switch("no-headers"),
        value("sort-by"),
        switch("sum"),
        switch("use-protocol-buffers"),
    ],
];
pub(super) const EVENTS: Table = &[
    COMMON,
    PRINTING,
    EVERYWHERE,
    &[value("for"), value("types"), switch("no-headers"), value("chunk-size"), short_switch("watch", 'w')],
];
pub(super) const VERSION: Table = &[COMMON, OUTPUT, &[switch("client")]];
pub(super) const API_RESOURCES: Table = &[
    COMMON,
    OUTPUT,
    &[
        switch("namespaced"),
        value("api-group"),
        value("verbs"),
        value("categories"),
        switch("no-headers"),
        value("sort-by"),
        switch("cached"),
    ],
];
pub(super) const SCALE: Table = &[
    COMMON,
    PRINTING,
    DRY_RUN,
    &[value("replicas"), value("current-replicas"), value("resource-version"), value("timeout")],
];
pub(super) const ROLLOUT_STATUS: Table = &[COMMON, &[value("timeout"), value("revision"), short_switch("watch", 'w')]];
pub(super) const ROLLOUT_HISTORY: Table = &[COMMON, PRINTING, &[value("revision")]];
pub(super) const ROLLOUT_UNDO: Table = &[COMMON, PRINTING, DRY_RUN, &[value("to-revision")]];
pub(super) const ROLLOUT_CHANGE: Table = &[COMMON, PRINTING, MANAGER];
pub(super) const PATCH: Table =
    &[COMMON, PRINTING, DRY_RUN, MANAGER, &[short_value("patch", 'p'), value("type"), value("subresource")]];
pub(super) const APPLY: Table = &[
    COMMON,
    PRINTING,
    DRY_RUN,
    MANAGER,
    &[
        short_value("filename", 'f'),
        switch("server-side"),
        switch("force-conflicts"),
        switch("overwrite"),
        switch("openapi-patch"),
        switch("wait"),
        attached("validate", "true, strict, warn, ignore or false"),
    ],
];
pub(super) const METADATA: Table =
    &[COMMON, PRINTING, DRY_RUN, MANAGER, &[switch("overwrite"), value("resource-version")]];
pub(super) const DELETE: Table = &[
    COMMON,
    OUTPUT,
    DRY_RUN,
    &[
        switch("ignore-not-found"),
        value("timeout"),
        switch("wait"),
        switch("now"),
        value("grace-period"),
        attached("cascade", "background, foreground or orphan"),
    ],
];
