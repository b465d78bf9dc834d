//! A container's log.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use chrono::{DateTime, SecondsFormat, Utc};

use super::{Incoming, content_type, path::Target, plain, status::ApiError};
use crate::{
    cluster::{Cluster, kinds::PODS, obj},
    controllers::container::{Container, LogLine, Phase},
    hub::Hub,
};

pub(crate) fn answer(hub: &Arc<Hub>, call: &Incoming, target: &Target) -> Result<Response, ApiError> {
    let ns = target.ns.clone().unwrap_or_default();
    let name = target.name.clone().unwrap_or_default();
    let c = hub.cluster();
    let pod = c.store.get(&PODS, &ns, &name).ok_or_else(|| ApiError::not_found(&PODS, &name))?;
    let names: Vec<&str> = obj::items(&pod, "/spec/containers").iter().map(|k| obj::text(k, "/name")).collect();
    let wanted = match (call.query.get("container").filter(|s| !s.is_empty()), names.as_slice()) {
        (Some(asked), _) if names.contains(&asked) => asked,
        (Some(asked), _) => return Err(ApiError::bad(format!("container {asked} is not valid for pod {name}"))),
        (None, [only]) => only,
        (None, _) => {
            let all = names.join(" ");
            return Err(ApiError::bad(format!(
                "a container name must be specified for pod {name}, choose one of: [{all}]"
            )));
        }
    }
    .to_owned();
    let previous = call.query.flag("previous");
    let lines = select(call, lines(&c, &pod, &wanted, previous)?);
    drop(c);
    let stamped = call.query.flag("timestamps");
    let mut out: String = lines.iter().map(|l| render(l, stamped)).collect();
    if let Ok(limit) = call.query.text("limitBytes").parse::<usize>() {
        let mut end = limit.min(out.len());
        while !out.is_char_boundary(end) {
            end -= 1;
        }
        out.truncate(end);
    }
    if call.query.flag("follow") && !previous {
        return Ok(follow(hub.clone(), obj::uid(&pod).to_owned(), wanted, out, stamped));
    }
    Ok(plain(out))
}

fn lines(c: &Cluster, pod: &serde_json::Value, wanted: &str, previous: bool) -> Result<Vec<LogLine>, ApiError> {
    let name = obj::name(pod);
    let container: Option<&Container> =
        c.pods.get(obj::uid(pod)).and_then(|rt| rt.containers.iter().find(|k| k.name == wanted));
    let Some(container) = container else {
        return Err(ApiError::bad(format!(
            "container \"{wanted}\" in pod \"{name}\" is waiting to start: ContainerCreating"
        )));
    };
    let dead = matches!(container.phase, Phase::CrashBackOff { .. } | Phase::Restarting { .. });
    if previous {
        // Between two runs the one that has ended is both the current and the previous one.
        return match &container.previous {
            _ if dead => Ok(container.logs.clone()),
            Some(lines) => Ok(lines.clone()),
            None => {
                Err(ApiError::bad(format!("previous terminated container \"{wanted}\" in pod \"{name}\" not found")))
            }
        };
    }
    match container.waiting_reason() {
        Some("ErrImagePull" | "ImagePullBackOff") => Err(ApiError::bad(format!(
            "container \"{wanted}\" in pod \"{name}\" is waiting to start: trying and failing to pull image"
        ))),
        Some(reason) if !dead => {
            Err(ApiError::bad(format!("container \"{wanted}\" in pod \"{name}\" is waiting to start: {reason}")))
        }
        _ => Ok(container.logs.clone()),
    }
}

fn select(call: &Incoming, mut lines: Vec<LogLine>) -> Vec<LogLine> {
    let since = match call.query.text("sinceSeconds").parse::<i64>() {
        Ok(s) => Some(crate::clock::now() - chrono::Duration::seconds(s)),
        Err(_) => DateTime::parse_from_rfc3339(call.query.text("sinceTime")).ok().map(|t| t.with_timezone(&Utc)),
    };
    if let Some(since) = since {
        lines.retain(|(at, _)| *at >= since);
    }
    if let Ok(tail) = call.query.text("tailLines").parse::<usize>() {
        lines.drain(..lines.len().saturating_sub(tail));
    }
    lines
}

fn render((at, line): &LogLine, stamped: bool) -> String {
    if stamped { format!("{} {line}\n", at.to_rfc3339_opts(SecondsFormat::Nanos, true)) } else { format!("{line}\n") }
}

/// The log as it grows, until the container stops.
fn follow(hub: Arc<Hub>, uid: String, container: String, first: String, stamped: bool) -> Response {
    let start = crate::clock::now();
    let stream = futures::stream::unfold((Some(first), start), move |(first, mut last)| {
        let (hub, uid, container) = (hub.clone(), uid.clone(), container.clone());
        async move {
            if let Some(first) = first {
                return Some((Ok::<_, std::io::Error>(Bytes::from(first)), (None, last)));
            }
            loop {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                    () = hub.stop.cancelled() => return None,
                }
                let c = hub.cluster();
                let found = c.pods.get(&uid)?.containers.iter().find(|k| k.name == container)?;
                let new: Vec<&LogLine> = found.logs.iter().filter(|(at, _)| *at > last).collect();
                if let Some((at, _)) = new.last() {
                    last = *at;
                    let text: String = new.iter().map(|l| render(l, stamped)).collect();
                    return Some((Ok(Bytes::from(text)), (None, last)));
                }
                if !found.running() {
                    return None;
                }
            }
        }
    });
    let mut response = Response::new(Body::from_stream(stream));
    content_type(&mut response, "text/plain");
    response
}
