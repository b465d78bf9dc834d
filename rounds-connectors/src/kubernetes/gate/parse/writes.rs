//! The verbs that change something.

use std::collections::{BTreeMap, BTreeSet};

use rounds_core::step::Refusal;

use super::super::command::{
    Action, Apply, Cascade, Delete, DryRunFlag, Metadata, ObjectRef, Patch, PatchType, Place, RolloutChange,
    RolloutUndo, RolloutVerb, Scale, Validate,
};
use super::super::output::Output;
use super::super::refusal::{Rule, quote, refuse};
use super::super::{deny, manifest, names, patch as patch_body, targets};
use super::{Cx, Parsed};

impl Cx<'_> {
    fn write_place(&mut self, objects: &[ObjectRef]) -> Result<Place, Refusal> {
        let kinds: Vec<_> = objects.iter().map(|object| &object.kind).collect();
        targets::write_place(&kinds, self.namespace.take(), self.policy)
    }

    fn dry_run(&mut self) -> Result<Option<DryRunFlag>, Refusal> {
        match self.text("dry-run").as_deref() {
            None | Some("none") => Ok(None),
            Some("client") => Ok(Some(DryRunFlag::Client)),
            Some("server") => Ok(Some(DryRunFlag::Server)),
            Some(other) => {
                Err(refuse(Rule::BadFlagValue, format!("--dry-run={} is not client, server or none", quote(other))))
            }
        }
    }

    fn field_manager(&mut self) -> Result<Option<String>, Refusal> {
        let manager = self.text("field-manager");
        if let Some(text) = manager.as_deref() {
            let fits = (1..=128).contains(&text.len())
                && text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'));
            if !fits {
                return Err(refuse(Rule::BadFlagValue, format!("--field-manager {} is not a plain word", quote(text))));
            }
        }
        Ok(manager)
    }

    fn resource_version(&mut self) -> Result<Option<String>, Refusal> {
        let version = self.text("resource-version");
        if version
            .as_deref()
            .is_some_and(|text| text.is_empty() || text.len() > 20 || !text.bytes().all(|c| c.is_ascii_digit()))
        {
            return Err(refuse(Rule::BadFlagValue, "--resource-version is a number, as `get -o yaml` shows it"));
        }
        Ok(version)
    }
}

/// How many replicas a change may ask for.
pub(in super::super) fn replicas(count: i64, most: u32) -> Result<u32, Refusal> {
    u32::try_from(count).ok().filter(|&count| count <= most).ok_or_else(|| {
        refuse(
            Rule::ReplicasOutOfRange,
            format!("{count} replicas; this connector accepts 0 to {most} (`maxReplicas`)"),
        )
    })
}

/// Kinds that `rollout` works on; `pause` and `resume` know only deployments.
pub(super) fn rolls_out(objects: &[ObjectRef], deployments_only: bool) -> Result<(), Refusal> {
    match objects
        .iter()
        .find(|object| !object.kind.kind.rolls_out() || (deployments_only && object.kind.kind.kind != "Deployment"))
    {
        None => Ok(()),
        Some(object) => Err(refuse(
            Rule::UnsupportedKind,
            format!(
                "{} has no such rollout; it works on deployments{}",
                object.kind.singular(),
                if deployments_only { "" } else { ", statefulsets and daemonsets" }
            ),
        )),
    }
}

pub(super) fn scale(cx: &mut Cx<'_>) -> Parsed {
    let words = cx.positional();
    let objects = cx.objects(&words)?;
    let place = cx.write_place(&objects)?;
    if let Some(object) = objects.iter().find(|object| !object.kind.kind.scales()) {
        return Err(refuse(
            Rule::UnsupportedKind,
            format!("{} cannot be scaled; deployments, statefulsets and replicasets can", object.kind.singular()),
        ));
    }
    let Some(wanted) = cx.text("replicas") else {
        return Err(cx.bad_arguments("scale TYPE/NAME --replicas=COUNT -n NAMESPACE"));
    };
    let replicas = replicas(
        names::number("replicas", &wanted, i64::from(i32::MIN)..=i64::from(i32::MAX))?,
        cx.policy.max_replicas,
    )?;
    let scale = Scale {
        objects,
        replicas,
        current_replicas: cx.count("current-replicas", 0..=100_000)?,
        timeout: cx.bounded_wait("timeout")?,
        resource_version: cx.resource_version()?,
        dry_run: cx.dry_run()?,
        printing: cx.printing()?,
    };
    Ok((place, Action::Scale(scale)))
}

pub(super) fn rollout_undo(cx: &mut Cx<'_>) -> Parsed {
    let words = cx.positional();
    let objects = cx.objects(&words)?;
    let place = cx.write_place(&objects)?;
    rolls_out(&objects, false)?;
    let to_revision = cx.count("to-revision", 0..=u32::MAX)?.filter(|&revision| revision > 0);
    let undo = RolloutUndo { objects, to_revision, dry_run: cx.dry_run()?, printing: cx.printing()? };
    Ok((place, Action::RolloutUndo(undo)))
}

pub(super) fn rollout_change(cx: &mut Cx<'_>, verb: RolloutVerb) -> Parsed {
    let words = cx.positional();
    let objects = cx.objects(&words)?;
    let place = cx.write_place(&objects)?;
    rolls_out(&objects, verb != RolloutVerb::Restart)?;
    let change = RolloutChange { verb, objects, field_manager: cx.field_manager()?, printing: cx.printing()? };
    Ok((place, Action::RolloutChange(change)))
}

pub(super) fn patch(cx: &mut Cx<'_>) -> Parsed {
    let words = cx.positional();
    let object = cx.one_object(&words)?;
    let place = cx.write_place(std::slice::from_ref(&object))?;
    let patch_type = match cx.text("type").as_deref() {
        None | Some("strategic") => PatchType::Strategic,
        Some("merge") => PatchType::Merge,
        Some("json") => PatchType::Json,
        Some(other) => {
            return Err(refuse(Rule::BadFlagValue, format!("--type {} is not strategic, merge or json", quote(other))));
        }
    };
    if patch_type == PatchType::Strategic && object.kind.kind.is_custom() {
        return Err(refuse(
            Rule::BadPatch,
            format!(
                "{} is a custom kind, which has no strategic merge: write --type=merge or json",
                object.kind.plural()
            ),
        ));
    }
    let on_scale = match cx.text("subresource").as_deref() {
        None => false,
        Some("scale") if object.kind.kind.scales() => true,
        Some(other) => {
            return Err(refuse(
                Rule::Subresource,
                format!("the subresource {} is not patched; accepted: scale, on kinds that have it", quote(other)),
            ));
        }
    };
    let Some(text) = cx.text("patch") else {
        return Err(cx.bad_arguments("patch TYPE/NAME -n NAMESPACE --type=merge -p '{\"spec\":…}'"));
    };
    let body = patch_body::read(&text, patch_type, &object, &place, cx.policy)?;
    let patch = Patch {
        object,
        patch_type,
        body,
        on_scale,
        dry_run: cx.dry_run()?,
        field_manager: cx.field_manager()?,
        printing: cx.printing()?,
    };
    Ok((place, Action::Patch(patch)))
}

pub(super) fn apply(cx: &mut Cx<'_>, stdin: Option<&str>) -> Parsed {
    let form = "apply -f - -n NAMESPACE, with the manifest on stdin";
    if !cx.positional().is_empty() {
        return Err(cx.bad_arguments(form));
    }
    match cx.text("filename").as_deref() {
        Some("-") => {}
        None => return Err(cx.bad_arguments(form)),
        Some(other) => {
            return Err(refuse(
                Rule::FileSource,
                format!(
                    "the manifest comes from stdin, where it can be checked and shown: write `-f -`, not {}",
                    quote(other)
                ),
            ));
        }
    }
    let namespace = targets::write_namespace(cx.namespace.take(), cx.policy)?;
    let validate = match cx.text("validate").as_deref() {
        None => None,
        Some("true") => Some(Validate::True),
        Some("strict") => Some(Validate::Strict),
        Some("warn") => Some(Validate::Warn),
        Some("ignore") => Some(Validate::Ignore),
        Some("false") => Some(Validate::False),
        Some(other) => {
            return Err(refuse(
                Rule::BadFlagValue,
                format!("--validate={} is not true, strict, warn, ignore or false", quote(other)),
            ));
        }
    };
    let server_side = cx.on("server-side")?;
    let force_conflicts = cx.on("force-conflicts")?;
    if force_conflicts && !server_side {
        return Err(refuse(Rule::ConflictingFlags, "--force-conflicts needs --server-side"));
    }
    // What kubectl does anyway says nothing; that it should not do it is no command for a plan.
    for default in ["overwrite", "openapi-patch"] {
        if cx.arguments.switch(default)? == Some(false) {
            return Err(refuse(
                Rule::BadFlagValue,
                format!("`apply --{default}=false` is refused: leave the flag out, or use --server-side"),
            ));
        }
    }
    // It waits for what pruning deletes, and nothing is pruned.
    cx.on("wait")?;
    let dry_run = cx.dry_run()?;
    if server_side && dry_run == Some(DryRunFlag::Client) {
        return Err(refuse(Rule::ConflictingFlags, "--server-side needs --dry-run=server, not client"));
    }
    let field_manager = cx.field_manager()?;
    let printing = cx.printing()?;
    let Some(text) = stdin.filter(|text| !text.is_empty()) else {
        return Err(refuse(Rule::MissingStdin, "`apply -f -` needs a manifest on stdin"));
    };
    let objects = manifest::read(text, &namespace, cx.policy)?;
    let apply = Apply { objects, server_side, force_conflicts, validate, dry_run, field_manager, printing };
    Ok((Place::Namespace(namespace), Action::Apply(apply)))
}

/// Whether a word is a change rather than a resource, as kubectl decides it.
fn is_change(word: &str) -> bool {
    word.find('=').is_some_and(|at| at > 0) || (word.ends_with('-') && word != "-")
}

pub(super) fn metadata(cx: &mut Cx<'_>, labels: bool) -> Result<(Place, Metadata), Refusal> {
    let words = cx.positional();
    let split = words.iter().position(|word| is_change(word)).unwrap_or(words.len());
    let (resources, changes) = words.split_at(split);
    let objects = cx.objects(resources)?;
    let place = cx.write_place(&objects)?;
    let (mut set, mut remove) = (BTreeMap::new(), BTreeSet::new());
    for word in changes {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None if is_change(word) => (&word[..word.len() - 1], None),
            None => {
                return Err(refuse(
                    Rule::BadArguments,
                    format!("{} stands after the changes; name objects before them", quote(word)),
                ));
            }
        };
        if !names::is_metadata_key(key) {
            return Err(refuse(
                Rule::BadName,
                format!(
                    "{} is not a key: letters, digits, dashes, underscores and dots, perhaps after PREFIX/",
                    quote(key)
                ),
            ));
        }
        deny::metadata_key(key)?;
        if labels && value.is_some_and(|value| !names::is_label_value(value)) {
            return Err(refuse(
                Rule::BadName,
                format!(
                    "{} is not a label value: at most 63 letters, digits, dashes, underscores and dots",
                    quote(word)
                ),
            ));
        }
        let fresh = match value {
            Some(value) => set.insert(key.to_owned(), value.to_owned()).is_none() && !remove.contains(key),
            None => remove.insert(key.to_owned()) && !set.contains_key(key),
        };
        if !fresh {
            return Err(refuse(Rule::BadArguments, format!("the key {} is changed twice", quote(key))));
        }
    }
    if set.is_empty() && remove.is_empty() {
        return Err(cx.bad_arguments("TYPE/NAME KEY=VALUE… KEY-… -n NAMESPACE"));
    }
    let metadata = Metadata {
        objects,
        set,
        remove,
        overwrite: cx.on("overwrite")?,
        resource_version: cx.resource_version()?,
        dry_run: cx.dry_run()?,
        field_manager: cx.field_manager()?,
        printing: cx.printing()?,
    };
    Ok((place, metadata))
}

pub(super) fn delete(cx: &mut Cx<'_>) -> Parsed {
    let words = cx.positional();
    let objects = cx.objects(&words)?;
    let place = cx.write_place(&objects)?;
    let wait = cx.arguments.switch("wait")?.unwrap_or(true);
    let limit = cx.policy.wait_timeout();
    let timeout = cx.text("timeout").map(|text| names::seconds("timeout", &text)).transpose()?;
    if !wait && timeout.is_some() {
        return Err(refuse(Rule::ConflictingFlags, "--timeout means nothing with --wait=false; leave one of them out"));
    }
    // -1 is kubectl's word for the object's own grace period.
    let grace_period = match cx.text("grace-period").as_deref() {
        None | Some("-1") => None,
        Some(text) => u32::try_from(names::number("grace-period", text, 1..=3600)?).ok(),
    };
    let now = cx.on("now")?;
    if now && grace_period.is_some() {
        return Err(refuse(Rule::ConflictingFlags, "--now and --grace-period exclude each other; use one of them"));
    }
    let cascade = match cx.text("cascade").as_deref() {
        None => None,
        Some("background" | "true") => Some(Cascade::Background),
        Some("foreground") => Some(Cascade::Foreground),
        Some("orphan") => Some(Cascade::Orphan),
        Some(other) => {
            return Err(refuse(
                Rule::BadFlagValue,
                format!("--cascade={} is not background, foreground or orphan", quote(other)),
            ));
        }
    };
    let delete = Delete {
        objects,
        ignore_not_found: cx.on("ignore-not-found")?,
        wait,
        timeout: wait.then(|| timeout.unwrap_or(limit).min(limit)),
        grace_period,
        now,
        cascade,
        dry_run: cx.dry_run()?,
        name_only: Output::parse_among(cx.text("output"), "delete", &[Output::Name])? == Output::Name,
    };
    Ok((place, Action::Delete(delete)))
}
