//! Settings: connectors of each role. The form of a kind is made from its JSON Schema.

mod letters;
mod routing;
pub(in crate::pages) mod schema;

use std::collections::{BTreeMap, HashMap};

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use rounds_core::access::Action;
use rounds_core::connector::Role;
use rounds_core::connector::{Connector, StoredSecret};
use rounds_core::plugin::SecretUse;
use rounds_core::service::{Backlog, ConnectorDraft, ConnectorHealth, Recipient};
use rounds_core::{ConnectorId, TeamId};
use secrecy::SecretString;

use super::cx::{Cx, May, Shell, page_with};
use super::error::PageError;
use super::form::{self, Fields};
use super::pill::{Pill, Tone, Toned as _, word};
use crate::accounts::{SetupStep, TeamView};
use crate::pages::Pages;
use schema::{Field, Input, Row};

pub(super) fn router() -> Pages {
    Pages::new()
        .route("/settings", get(|| async { Redirect::to("/settings/connectors") }))
        .route("/settings/{place}", get(list).post(create))
        .route("/settings/{place}/{id}", get(edit).post(save))
        .form("/settings/{place}/{id}/test", post(test))
        .form("/settings/{place}/{id}/delete", post(delete))
        .merge(letters::router())
}

/// One page of settings: the connectors of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pages) struct Place {
    pub(in crate::pages) path: &'static str,
    pub(in crate::pages) title: &'static str,
    pub(in crate::pages) one: &'static str,
    pub(in crate::pages) role: Role,
    pub(in crate::pages) empty: &'static str,
}

pub(in crate::pages) const PLACES: [Place; 4] = [
    Place {
        path: "datasources",
        title: "Datasources",
        one: "datasource",
        role: Role::Datasource,
        empty: "Alert rules are evaluated on a datasource: add a Prometheus-compatible one.",
    },
    Place {
        path: "connectors",
        title: "Ops connectors",
        one: "ops connector",
        role: Role::Execution,
        empty: "Approved plans run on an ops connector: add a cluster, with the namespaces that may be touched.",
    },
    Place {
        path: "models",
        title: "Language model",
        one: "language model",
        role: Role::Model,
        empty: "Without one, the playbook investigates: it knows common failures by their signatures and costs nothing. \
                With one, the model investigates, read-only and within budgets, and what it reads goes to its provider.",
    },
    Place {
        path: "notifications",
        title: "Notifications",
        one: "notification channel",
        role: Role::Notifier,
        empty: "People are told about plans that wait through a channel: add one.",
    },
];

fn place(path: &str) -> Result<Place, PageError> {
    let found = PLACES.into_iter().find(|place| place.path == path);
    found.ok_or_else(|| PageError::not_found(format!("there is no page /settings/{}", form::crop(path))))
}

/// What a connector may touch, where its kind has a say in that.
pub(in crate::pages) fn namespaces(connector: &Connector) -> Option<String> {
    let allowed = connector.config.get("allowedNamespaces")?.as_array()?;
    let names: Vec<&str> = allowed.iter().filter_map(|name| name.as_str()).collect();
    Some(if names.is_empty() { "none: nothing is permitted".into() } else { names.join(", ") })
}

/// The words of a fact's name: `serverVersion` → `Server version`.
pub(in crate::pages) fn fact(name: &str) -> String {
    schema::label(name)
}

/// Whether something is permitted, as a word with a shape.
pub(in crate::pages) fn allowed(ok: &bool) -> Pill {
    if *ok { word("yes", Tone::Ok) } else { word("no", Tone::Danger) }
}

/// A kind of connector, to choose from.
pub(in crate::pages) struct Kind {
    pub(in crate::pages) kind: &'static str,
    pub(in crate::pages) title: &'static str,
}

/// The form of one kind.
pub(in crate::pages) struct KindForm {
    pub(in crate::pages) kind: String,
    pub(in crate::pages) title: String,
    /// The connector that is changed; `None`: a new one.
    pub(in crate::pages) of: Option<Connector>,
    /// What it is about, in its own words.
    pub(in crate::pages) about: String,
    pub(in crate::pages) fields: Vec<Field>,
    pub(in crate::pages) secret: SecretUse,
    pub(in crate::pages) typed: Fields,
    /// The name it has, or is offered.
    pub(in crate::pages) name: String,
    /// What was wrong with what is no field of its config: the field, and why.
    pub(in crate::pages) wrong: Vec<(String, String)>,
}

/// The fields of every form, whatever the kind.
const COMMON: [&str; 5] = ["name", "secret", "secretRef", "ownerTeamId", "isDefault"];

impl KindForm {
    /// Puts what was refused beside the field it is about.
    fn blame(&mut self, message: &str) {
        // What core says before it: which kind, and that it is about the config.
        let said = message.split_once("the config does not fit: ").map_or(message, |(_, said)| said);
        let said = said.strip_prefix("config: ").unwrap_or(said);
        let field = said.split_once(": ").map(|(field, why)| (field.to_owned(), why.to_owned()));
        match field {
            Some((field, why)) if COMMON.contains(&&*field) || field.starts_with("routing") => {
                // A kind may have a setting of that name, too, and then it is named by a longer message.
                self.wrong.push((field, why));
            }
            _ if schema::blame(&mut self.fields, said) => {}
            // References are looked at by those who resolve them, in their own words.
            _ if ["secretRef", "secret scheme", "secret reference"].iter().any(|words| message.contains(words)) => {
                self.wrong.push(("secretRef".into(), said.to_owned()));
            }
            _ => {}
        }
    }

    /// What is wrong with a field that every form has.
    pub(in crate::pages) fn wrong(&self, name: &str) -> Option<&str> {
        self.wrong.iter().find(|(found, _)| found == name).map(|(_, why)| why.as_str())
    }

    /// What everybody fills in.
    pub(in crate::pages) fn rows(&self) -> Vec<Row<'_>> {
        schema::rows(&self.fields).0
    }

    /// What most leave as it is.
    pub(in crate::pages) fn aside(&self) -> Vec<Row<'_>> {
        schema::rows(&self.fields).1
    }

    pub(in crate::pages) fn aside_is_open(&self) -> bool {
        schema::aside_is_wrong(&self.fields)
    }

    pub(in crate::pages) fn about(&self) -> Vec<(bool, &str)> {
        schema::prose(&self.about)
    }

    pub(in crate::pages) fn secret_prose(&self) -> Vec<(bool, &str)> {
        schema::prose(self.secret_help().unwrap_or_default())
    }

    pub(in crate::pages) fn secret_help(&self) -> Option<&'static str> {
        match self.secret {
            SecretUse::Optional(help) | SecretUse::Required(help) => Some(help),
            _ => None,
        }
    }

    pub(in crate::pages) fn secret_is_needed(&self) -> bool {
        matches!(self.secret, SecretUse::Required(_)) && self.of.as_ref().is_none_or(|found| found.secret.is_none())
    }

    /// What is known of the secret there is; never the secret.
    pub(in crate::pages) fn secret_there(&self) -> Option<String> {
        match self.of.as_ref()?.secret.as_ref()? {
            StoredSecret::Inline(_) => {
                Some("A secret is stored, encrypted. It is never shown; leave both empty to keep it.".into())
            }
            StoredSecret::Reference(reference) => {
                Some(format!("It is read from {reference}; leave both empty to keep that."))
            }
        }
    }

    pub(in crate::pages) fn action(&self, place: &Place) -> String {
        match &self.of {
            Some(found) => format!("/settings/{}/{}", place.path, found.id),
            None => format!("/settings/{}?kind={}", place.path, self.kind),
        }
    }

    pub(in crate::pages) fn is_default(&self) -> bool {
        self.typed.ticked("isDefault")
    }

    pub(in crate::pages) fn get(&self, name: &str) -> &str {
        self.typed.get(name)
    }
}

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    shell: Shell,
    place: Place,
    found: Vec<Connector>,
    kinds: Vec<Kind>,
    form: Option<KindForm>,
    may: May,
    /// How many dead letters there are.
    dead: u64,
    /// What waits for each channel, on the page of channels.
    backlog: BTreeMap<Option<Recipient>, Backlog>,
    /// How those do that were called.
    health: HashMap<ConnectorId, ConnectorHealth>,
    teams: Vec<TeamView>,
}

impl SettingsPage {
    /// What waits for a channel, unless nothing does.
    fn waits(&self, connector: &Connector) -> Option<&Backlog> {
        let backlog = self.backlog.get(&Some(Recipient::Channel(connector.id)))?;
        Some(backlog).filter(|backlog| backlog.pending > 0 || backlog.dead > 0)
    }

    fn health(&self, connector: &Connector) -> Option<&ConnectorHealth> {
        self.health.get(&connector.id)
    }

    /// Several models, and none of them is used: core does not guess.
    fn is_undecided(&self) -> bool {
        self.place.role == Role::Model && self.found.len() > 1 && !self.found.iter().any(|found| found.is_default)
    }

    fn places(&self) -> [Place; 4] {
        PLACES
    }

    fn is_at(&self, path: &str) -> bool {
        path == self.place.path
    }

    fn is_owner(&self, form: &KindForm, team: &TeamView) -> bool {
        form.get("ownerTeamId") == team.id.to_string()
    }

    fn has_abilities(&self, connector: &Connector) -> bool {
        connector.last_check.as_ref().is_some_and(|report| !report.abilities.is_empty())
    }
}

async fn list(cx: Cx, Path(path): Path<String>) -> Result<Response, PageError> {
    let place = place(&path)?;
    let kinds = kinds(&cx, place);
    let kind = cx.param("kind").map(str::to_owned);
    let only = match kinds.as_slice() {
        [one] => Some(one.kind.to_owned()),
        _ => None,
    };
    let form = match kind.or_else(|| only.filter(|_| cx.param("new").is_some())) {
        Some(kind) => Some(kind_form(&cx, place, &kind, None, Fields::default(), None)?),
        None => None,
    };
    render(&cx, place, form, None).await
}

async fn create(cx: Cx, Path(path): Path<String>, fields: Fields) -> Result<Response, PageError> {
    let place = place(&path)?;
    let kind = cx.param("kind").unwrap_or_default().to_owned();
    let draft = match draft(&cx, place, &kind, &fields, None) {
        Ok(draft) => draft,
        Err((error, form)) => return render(&cx, place, form.map(|form| *form), Some(error)).await,
    };
    let made = async {
        let owner_team_id = owner(&cx, &fields, None).await?;
        Ok(cx.rounds().connectors().create(&cx.who, ConnectorDraft { owner_team_id, ..draft }).await?)
    };
    match made.await {
        Ok(made) => Ok(Redirect::to(&format!("/settings/{path}?done=created-connector#c-{}", made.id)).into_response()),
        Err(error) => {
            let error: PageError = error;
            let form = kind_form(&cx, place, &kind, None, fields, Some(&error))?;
            render(&cx, place, Some(form), Some(error)).await
        }
    }
}

async fn edit(cx: Cx, Path((path, id)): Path<(String, String)>) -> Result<Response, PageError> {
    let place = place(&path)?;
    let found = find(&cx, place, &id).await?;
    let form = stored_form(&cx, place, found)?;
    render(&cx, place, Some(form), None).await
}

/// The form of a connector as it is.
pub(in crate::pages) fn stored_form(cx: &Cx, place: Place, found: Connector) -> Result<KindForm, PageError> {
    let kind = found.kind.clone();
    let connectors = cx.rounds().connectors();
    let registration = connectors.kinds().get(&kind).map_err(|error| PageError::not_found(error.to_string()))?;
    let mut typed = schema::typed(&schema::fields(&registration.schema()), &found.config);
    typed.push(("name".into(), found.name.clone()));
    if found.is_default {
        typed.push(("isDefault".into(), "1".into()));
    }
    typed.extend(found.owner_team_id.map(|team| ("ownerTeamId".into(), team.to_string())));
    typed.extend(routing::typed(&found.routing));
    kind_form(cx, place, &kind, Some(found), Fields(typed), None)
}

async fn save(cx: Cx, Path((path, id)): Path<(String, String)>, fields: Fields) -> Result<Response, PageError> {
    let place = place(&path)?;
    let found = find(&cx, place, &id).await?;
    let kind = found.kind.clone();
    let mut draft = match draft(&cx, place, &kind, &fields, Some(&found)) {
        Ok(draft) => draft,
        Err((error, form)) => {
            let form = form.map(|form| KindForm { of: Some(found), ..*form });
            return render(&cx, place, form, Some(error)).await;
        }
    };
    let saved = async {
        draft.owner_team_id = owner(&cx, &fields, found.owner_team_id).await?;
        Ok(cx.rounds().connectors().update(&cx.who, found.id, draft).await?)
    };
    match saved.await {
        Ok(_) => Ok(Redirect::to(&format!("/settings/{path}?done=saved#c-{id}")).into_response()),
        Err(error) => {
            let error: PageError = error;
            let form = kind_form(&cx, place, &kind, Some(found), fields, Some(&error))?;
            render(&cx, place, Some(form), Some(error)).await
        }
    }
}

/// The team that was chosen; a form without the field keeps the one there is.
async fn owner(cx: &Cx, fields: &Fields, kept: Option<TeamId>) -> Result<Option<TeamId>, PageError> {
    if !fields.ticked("ownerTeamId") {
        return Ok(kept);
    }
    let team: Option<TeamId> = fields.id("ownerTeamId")?;
    let new = team.filter(|_| team != kept);
    cx.state.accounts.check_owner(&cx.who, Action::ConnectorsWrite, new).await?;
    Ok(team)
}

async fn test(cx: Cx, Path((path, id)): Path<(String, String)>, _: Fields) -> Result<Response, PageError> {
    let place = place(&path)?;
    match cx.rounds().connectors().test(&cx.who, form::id(&id)?).await {
        Ok(report) if report.abilities.is_empty() => {
            Ok(Redirect::to(&format!("/settings/{path}?done=tested#c-{id}")).into_response())
        }
        Ok(_) => Ok(Redirect::to(&format!("/settings/{path}/{id}?done=tested")).into_response()),
        Err(error) => {
            let mut error = PageError::from(error);
            error.message = format!("The test failed: {}", error.message);
            render(&cx, place, None, Some(error)).await
        }
    }
}

async fn delete(cx: Cx, Path((path, id)): Path<(String, String)>, _: Fields) -> Result<Response, PageError> {
    let place = place(&path)?;
    match cx.rounds().connectors().delete(&cx.who, form::id(&id)?).await {
        Ok(()) => Ok(Redirect::to(&format!("/settings/{path}?done=deleted")).into_response()),
        Err(error) => render(&cx, place, None, Some(error.into())).await,
    }
}

async fn find(cx: &Cx, place: Place, id: &str) -> Result<Connector, PageError> {
    let id: ConnectorId = form::id(id)?;
    let found = cx.rounds().connectors().get(&cx.who, id).await?;
    if found.role == place.role {
        return Ok(found);
    }
    Err(PageError::not_found(format!("there is no {} {id}", place.one)))
}

pub(in crate::pages) fn kinds(cx: &Cx, place: Place) -> Vec<Kind> {
    let connectors = cx.rounds().connectors();
    let of_role = connectors.kinds().iter().filter(|kind| kind.role() == place.role);
    let mut kinds: Vec<Kind> = of_role.map(|kind| Kind { kind: kind.kind(), title: kind.title() }).collect();
    let usual = SetupStep::ALL.into_iter().find(|step| step.role() == Some(place.role)).and_then(SetupStep::usual_kind);
    // The one that most people begin with, then the others by the names that people read.
    kinds.sort_by_key(|kind| (Some(kind.kind) != usual, kind.title.to_lowercase()));
    kinds
}

pub(in crate::pages) fn kind_form(
    cx: &Cx,
    place: Place,
    kind: &str,
    of: Option<Connector>,
    typed: Fields,
    refused: Option<&PageError>,
) -> Result<KindForm, PageError> {
    let connectors = cx.rounds().connectors();
    let registration = connectors.kinds().get(kind).map_err(|error| PageError::not_found(error.to_string()))?;
    if registration.role() != place.role {
        return Err(PageError::not_found(format!("`{kind}` is no kind of {}", place.one)));
    }
    let schema = registration.schema();
    let mut fields = schema::fields(&schema);
    fields.iter_mut().for_each(|field| field.fill(&typed));
    let name = typed.get("name").to_owned();
    let mut form = KindForm {
        kind: kind.into(),
        name,
        title: registration.title().into(),
        about: schema::about(&schema),
        of,
        fields,
        secret: registration.secret(),
        typed,
        wrong: Vec::new(),
    };
    if let Some(refused) = refused {
        form.blame(&refused.message);
    }
    Ok(form)
}

/// What a form says; or what is wrong with it, all of it, and the form with what was typed.
pub(in crate::pages) fn draft(
    cx: &Cx,
    place: Place,
    kind: &str,
    fields: &Fields,
    of: Option<&Connector>,
) -> Result<ConnectorDraft, (PageError, Option<Box<KindForm>>)> {
    let mut form = kind_form(cx, place, kind, None, fields.clone(), None).map_err(|error| (error, None))?;
    let mut wrong = Vec::new();
    let config = schema::config(&form.fields, fields).map_err(|found| {
        wrong.extend(found.into_iter().map(|(path, why)| format!("{path}: {why}")));
    });
    let routing = routing::read(fields).map_err(|error| wrong.push(error.message));
    let (Ok(config), Ok(routing)) = (config, routing) else {
        wrong.iter().for_each(|message| form.blame(message));
        return Err((PageError::invalid(wrong.join("; ")), Some(Box::new(form))));
    };
    Ok(ConnectorDraft {
        kind: kind.into(),
        name: fields.get("name").trim().to_owned(),
        config: match of.filter(|of| is_the_same(&form.fields, &of.config, &config)) {
            Some(of) => of.config.clone(),
            None => config,
        },
        // Kept as it came, but for the line ends that browsers put in.
        secret: fields.text("secret").map(|_| SecretString::from(fields.get("secret").replace("\r\n", "\n"))),
        secret_ref: fields.text("secretRef").map(str::to_owned),
        is_default: fields.ticked("isDefault"),
        owner_team_id: None,
        routing,
    })
}

/// Whether a form says what is there already: it writes out what a config may leave unsaid (a box that is not ticked), and
/// that must not make a new revision, which no plan approved before would run on.
fn is_the_same(fields: &[Field], stored: &serde_json::Value, typed: &serde_json::Value) -> bool {
    schema::config(fields, &Fields(schema::typed(fields, stored))).as_ref() == Ok(typed)
}

async fn render(
    cx: &Cx,
    place: Place,
    form: Option<KindForm>,
    refused: Option<PageError>,
) -> Result<Response, PageError> {
    let connectors = cx.rounds().connectors();
    let found = connectors.list(&cx.who).await?;
    let health = found.iter().filter_map(|row| Some((row.id, connectors.health(row)?))).collect();
    let status = refused.as_ref().map_or(StatusCode::OK, |error| error.status);
    let page = SettingsPage {
        shell: cx.shell(place.title, "settings").live("connector dead_letter").refused(refused.as_ref()),
        found: found.into_iter().filter(|connector| connector.role == place.role).collect(),
        kinds: kinds(cx, place),
        form,
        may: cx.may_all(Action::ConnectorsWrite, "connectors").await,
        dead: cx.rounds().dead_letters().count(&cx.who).await?,
        backlog: match place.role {
            Role::Notifier => cx.rounds().backlog(&cx.who.org_id).await?,
            _ => BTreeMap::new(),
        },
        health,
        teams: cx.state.accounts.teams(&cx.who).await.unwrap_or_default(),
        place,
    };
    Ok(page_with(status, &page))
}
