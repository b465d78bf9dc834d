//! The verbs that only look.

use rounds_core::step::Refusal;

use super::super::command::{
    Action, ApiResources, Describe, Events, Get, LogSource, Logs, Place, RolloutHistory, RolloutStatus, Selection,
    Subresource, Top, Version,
};
use super::super::kinds::{self, KindRef};
use super::super::output::Output;
use super::super::refusal::{Rule, quote, refuse};
use super::super::{names, targets};
use super::{Cx, Parsed};

/// Lines of log that are shown when the command does not say how many.
const DEFAULT_TAIL: i64 = 1000;

/// `TYPE[,TYPE]… [NAME…]` or `TYPE/NAME…`.
fn selection(cx: &mut Cx<'_>) -> Result<Selection, Refusal> {
    let words = cx.positional();
    let selector = cx.selector("selector")?;
    let Some(first) = words.first() else {
        return Err(cx.bad_arguments("TYPE[,TYPE] [-l SELECTOR], TYPE NAME, or TYPE/NAME"));
    };
    let selection = if first.contains('/') {
        Selection::Named(cx.objects(&words)?)
    } else {
        let kinds = kinds::resolve_list(first, cx.policy)?;
        if words.len() == 1 {
            return Ok(Selection::Listed { kinds, selector });
        }
        let mut objects = Vec::new();
        for kind in &kinds {
            for word in &words[1..] {
                objects.push(super::named(kind, word)?);
            }
        }
        Selection::Named(super::distinct(objects)?)
    };
    if selector.is_some() {
        return Err(refuse(Rule::ConflictingFlags, "names and --selector exclude each other; use one of them"));
    }
    Ok(selection)
}

fn kinds_of(selection: &Selection) -> Vec<&KindRef> {
    match selection {
        Selection::Named(objects) => objects.iter().map(|object| &object.kind).collect(),
        Selection::Listed { kinds, .. } => kinds.iter().collect(),
    }
}

fn place_of(cx: &mut Cx<'_>, selection: &Selection) -> Result<Place, Refusal> {
    let everywhere = cx.on("all-namespaces")?;
    if everywhere && matches!(selection, Selection::Named(_)) {
        return Err(refuse(Rule::ConflictingFlags, "an object is named in one namespace: leave -A out"));
    }
    targets::read_place(&kinds_of(selection), cx.namespace.take(), everywhere, cx.policy)
}

pub(super) fn get(cx: &mut Cx<'_>) -> Parsed {
    let selection = selection(cx)?;
    let place = place_of(cx, &selection)?;
    let field_selector = cx.selector("field-selector")?;
    if field_selector.is_some() && matches!(selection, Selection::Named(_)) {
        return Err(refuse(Rule::ConflictingFlags, "names and --field-selector exclude each other; use one of them"));
    }
    let subresource = match cx.text("subresource").as_deref() {
        None => None,
        Some("status") => Some(Subresource::Status),
        Some("scale") => Some(Subresource::Scale),
        Some(other) => {
            return Err(refuse(
                Rule::Subresource,
                format!("the subresource {} is refused; accepted: status, scale", quote(other)),
            ));
        }
    };
    let label_columns = cx.text("label-columns");
    if let Some(columns) = label_columns.as_deref()
        && !columns.split(',').all(names::is_metadata_key)
    {
        return Err(refuse(
            Rule::BadFlagValue,
            format!("--label-columns {} is not a list of label keys joined by commas", quote(columns)),
        ));
    }
    cx.ends("watch")?;
    cx.ends("watch-only")?;
    let sort_by = cx.text("sort-by");
    // kubectl takes a path with or without its leading point.
    if let Some(path) = sort_by.as_deref()
        && !path.starts_with(|c: char| c == '.' || c == '{' || c.is_ascii_alphabetic())
    {
        return Err(refuse(
            Rule::BadFlagValue,
            format!("--sort-by {} is not a path such as .metadata.creationTimestamp", quote(path)),
        ));
    }
    let get = Get {
        selection,
        field_selector,
        printing: cx.printing()?,
        chunk_size: cx.chunk_size()?,
        ignore_not_found: cx.on("ignore-not-found")?,
        label_columns,
        no_headers: cx.on("no-headers")?,
        show_kind: cx.on("show-kind")?,
        show_labels: cx.on("show-labels")?,
        server_print: cx.arguments.switch("server-print")?,
        sort_by,
        subresource,
    };
    Ok((place, Action::Get(get)))
}

pub(super) fn describe(cx: &mut Cx<'_>) -> Parsed {
    let selection = selection(cx)?;
    let place = place_of(cx, &selection)?;
    if kinds_of(&selection).iter().any(|kind| kind.kind.class == kinds::Class::ServiceAccount) {
        return Err(refuse(
            Rule::Secrets,
            "`describe serviceaccount` reads every Secret of the namespace behind the scenes; use `get sa NAME -o yaml`",
        ));
    }
    let show_events = cx.arguments.switch("show-events")?;
    let chunk_size = cx.chunk_size()?;
    Ok((place, Action::Describe(Describe { selection, show_events, chunk_size })))
}

pub(super) fn logs(cx: &mut Cx<'_>) -> Parsed {
    let form = "logs POD [CONTAINER], logs TYPE/NAME [CONTAINER], or logs -l SELECTOR";
    let mut words = cx.positional();
    let selector = cx.selector("selector")?;
    let mut container = cx.text("container").map(|text| names::name(&text)).transpose()?;
    let (source, kind) = match (selector, words.len()) {
        (Some(selector), 0) => (LogSource::Selector(selector), kinds::known("pods")?),
        (None, 1 | 2) => {
            if words.len() == 2 {
                let word = words.pop().unwrap_or_default();
                let word = names::name(&word)?;
                if container.as_ref().is_some_and(|flag| *flag != word) {
                    return Err(refuse(Rule::ConflictingFlags, "two containers are named; name one"));
                }
                container = Some(word);
            }
            let object = if words[0].contains('/') {
                super::pair(&words[0], cx.policy)?
            } else {
                super::named(&kinds::known("pods")?, &words[0])?
            };
            if object.kind.kind.class == kinds::Class::Ordinary
                && object.kind.kind.scope == kinds::Scope::Namespaced
                && !object.kind.kind.has_logs()
            {
                return Err(refuse(
                    Rule::UnsupportedKind,
                    format!(
                        "{} has no logs; name a pod, deployment, statefulset, daemonset, replicaset, job or service",
                        object.kind.singular()
                    ),
                ));
            }
            let kind = object.kind.clone();
            (LogSource::Object(object), kind)
        }
        _ => return Err(cx.bad_arguments(form)),
    };
    let place = targets::read_place(&[&kind], cx.namespace.take(), false, cx.policy)?;
    if !kind.kind.has_logs() {
        return Err(refuse(Rule::UnsupportedKind, format!("{} has no logs", kind.singular())));
    }
    // kubectl's word for "from the start".
    let since = cx.text("since").filter(|text| text != "0" && text != "0s");
    let since = since.map(|text| names::seconds("since", &text)).transpose()?;
    let since_time = cx.text("since-time");
    if let Some(text) = since_time.as_deref() {
        if chrono::DateTime::parse_from_rfc3339(text).is_err() {
            return Err(refuse(
                Rule::BadFlagValue,
                format!("--since-time {} is not a time such as 2026-01-31T12:00:00Z", quote(text)),
            ));
        }
        if since.is_some() {
            return Err(refuse(Rule::ConflictingFlags, "--since and --since-time exclude each other; use one of them"));
        }
    }
    let tail = cx.text("tail").map(|text| names::number("tail", &text, -1..=100_000)).transpose()?;
    let limit_bytes = cx.count("limit-bytes", 1..=1 << 30)?;
    cx.ends("follow")?;
    let pod_running_timeout = cx.bounded_wait("pod-running-timeout")?;
    let unbounded = tail.is_none() && since.is_none() && since_time.is_none() && limit_bytes.is_none();
    let logs = Logs {
        source,
        container,
        all_containers: cx.on("all-containers")?,
        all_pods: cx.on("all-pods")?,
        pod_running_timeout,
        previous: cx.on("previous")?,
        since,
        since_time,
        tail: if unbounded { Some(DEFAULT_TAIL) } else { tail },
        limit_bytes,
        timestamps: cx.on("timestamps")?,
        prefix: cx.on("prefix")?,
        ignore_errors: cx.on("ignore-errors")?,
        max_log_requests: cx.count("max-log-requests", 1..=50)?.and_then(|count| u8::try_from(count).ok()),
    };
    if logs.all_containers && logs.container.is_some() {
        return Err(refuse(
            Rule::ConflictingFlags,
            "--all-containers and a container exclude each other; use one of them",
        ));
    }
    Ok((place, Action::Logs(logs)))
}

pub(super) fn top(cx: &mut Cx<'_>) -> Parsed {
    let words = cx.positional();
    let (kind, name) = match words.as_slice() {
        [kind] => (kind, None),
        [kind, name] => (kind, Some(names::name(name)?)),
        _ => return Err(cx.bad_arguments("top pods [NAME] [-l SELECTOR]")),
    };
    let pods = match kind.as_str() {
        "pod" | "pods" | "po" => true,
        "node" | "nodes" | "no" => false,
        other => return Err(refuse(Rule::UnsupportedKind, format!("`top` shows pods, not {}", quote(other)))),
    };
    let everywhere = cx.on("all-namespaces")?;
    let selector = cx.selector("selector")?;
    if name.is_some() && (everywhere || selector.is_some()) {
        return Err(refuse(Rule::ConflictingFlags, "a name excludes --selector and -A; use one of them"));
    }
    let kind = kinds::known(if pods { "pods" } else { "nodes" })?;
    let place = targets::read_place(&[&kind], cx.namespace.take(), everywhere, cx.policy)?;
    let sort_by_memory = match cx.text("sort-by").as_deref() {
        None => None,
        Some("cpu") => Some(false),
        Some("memory") => Some(true),
        Some(other) => {
            return Err(refuse(Rule::BadFlagValue, format!("--sort-by {} is neither cpu nor memory", quote(other))));
        }
    };
    let no_headers = cx.on("no-headers")?;
    let mut top =
        Top { pods, name, selector, field_selector: None, containers: false, no_headers, sum: false, sort_by_memory };
    // `top node` has none of these; left untaken, `finish` refuses them.
    if pods {
        top.field_selector = cx.selector("field-selector")?;
        top.containers = cx.on("containers")?;
        top.sum = cx.on("sum")?;
    }
    // How the answer is encoded on its way; the answer is the same.
    cx.on("use-protocol-buffers")?;
    Ok((place, Action::Top(top)))
}

pub(super) fn events(cx: &mut Cx<'_>) -> Parsed {
    if !cx.positional().is_empty() {
        return Err(cx.bad_arguments("events [--for TYPE/NAME] [--types=Warning]"));
    }
    let about = cx.text("for").map(|word| super::pair(&word, cx.policy)).transpose()?;
    let everywhere = cx.on("all-namespaces")?;
    let kind = match &about {
        Some(object) => object.kind.clone(),
        None => kinds::known("events")?,
    };
    let place = targets::read_place(&[&kind], cx.namespace.take(), everywhere, cx.policy)?;
    let (mut normal, mut warning) = (false, false);
    if let Some(types) = cx.text("types") {
        for word in types.split(',') {
            match word {
                "Normal" | "normal" => normal = true,
                "Warning" | "warning" => warning = true,
                other => {
                    return Err(refuse(
                        Rule::BadFlagValue,
                        format!("--types {} is neither Normal nor Warning", quote(other)),
                    ));
                }
            }
        }
    }
    cx.ends("watch")?;
    let printing = cx.printing()?;
    if printing.output == Output::Wide {
        return Err(refuse(Rule::OutputFormat, "`events` has no wide output; leave -o out"));
    }
    let events =
        Events { about, normal, warning, printing, no_headers: cx.on("no-headers")?, chunk_size: cx.chunk_size()? };
    Ok((place, Action::Events(events)))
}

/// A namespace on a command that has no use for one must still be an allowed one.
fn no_place(cx: &mut Cx<'_>) -> Result<Place, Refusal> {
    if cx.namespace.is_some() {
        targets::read_place(&[&kinds::known("pods")?], cx.namespace.take(), false, cx.policy)?;
    }
    Ok(Place::Cluster)
}

pub(super) fn version(cx: &mut Cx<'_>) -> Parsed {
    if !cx.positional().is_empty() {
        return Err(cx.bad_arguments("version [--client] [-o json|yaml]"));
    }
    let place = no_place(cx)?;
    let client = cx.on("client")?;
    let output = Output::parse_among(cx.text("output"), "version", &[Output::Json, Output::Yaml])?;
    Ok((place, Action::Version(Version { client, output })))
}

pub(super) fn api_resources(cx: &mut Cx<'_>) -> Parsed {
    if !cx.positional().is_empty() {
        return Err(cx.bad_arguments("api-resources [--namespaced=true] [--api-group=GROUP]"));
    }
    let place = no_place(cx)?;
    // Served from the connector's cache or not: the answer is the same, so the flag says nothing.
    cx.on("cached")?;
    let words = |flag: &str, text: Option<String>| match text {
        Some(text) if !text.split(',').all(|word| word.is_empty() || names::is_dns_subdomain(word)) => Err(refuse(
            Rule::BadFlagValue,
            format!("--{flag} {} is not a list of words joined by commas", quote(&text)),
        )),
        text => Ok(text),
    };
    let sort_by = cx.text("sort-by");
    if sort_by.as_deref().is_some_and(|by| by != "name" && by != "kind") {
        return Err(refuse(Rule::BadFlagValue, "--sort-by is name or kind"));
    }
    let resources = ApiResources {
        namespaced: cx.arguments.switch("namespaced")?,
        api_group: words("api-group", cx.text("api-group"))?,
        verbs: words("verbs", cx.text("verbs"))?,
        categories: words("categories", cx.text("categories"))?,
        no_headers: cx.on("no-headers")?,
        sort_by,
        output: Output::parse_among(cx.text("output"), "api-resources", &[Output::Wide, Output::Name])?,
    };
    Ok((place, Action::ApiResources(resources)))
}

pub(super) fn rollout_status(cx: &mut Cx<'_>) -> Parsed {
    let words = cx.positional();
    let object = cx.one_object(&words)?;
    let place = targets::read_place(&[&object.kind], cx.namespace.take(), false, cx.policy)?;
    super::writes::rolls_out(std::slice::from_ref(&object), false)?;
    let limit = cx.policy.wait_timeout();
    let timeout =
        cx.text("timeout").map(|text| names::seconds("timeout", &text)).transpose()?.unwrap_or(limit).min(limit);
    let watch = cx.arguments.switch("watch")?.unwrap_or(true);
    let revision = cx.count("revision", 1..=u32::MAX)?;
    // Without a watch it asks once, and a timeout means nothing.
    let timeout = if watch { timeout } else { limit };
    Ok((place, Action::RolloutStatus(RolloutStatus { object, watch, timeout, revision })))
}

pub(super) fn rollout_history(cx: &mut Cx<'_>) -> Parsed {
    let words = cx.positional();
    let objects = cx.objects(&words)?;
    let kinds: Vec<_> = objects.iter().map(|object| &object.kind).collect();
    let place = targets::read_place(&kinds, cx.namespace.take(), false, cx.policy)?;
    super::writes::rolls_out(&objects, false)?;
    let revision = cx.count("revision", 1..=u32::MAX)?;
    let printing = cx.printing()?;
    Ok((place, Action::RolloutHistory(RolloutHistory { objects, revision, printing })))
}
